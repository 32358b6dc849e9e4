"""How shapes and types are checked at run time: an int will do where a float is wanted, as in PEP 484."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
