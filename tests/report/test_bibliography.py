import re

from unweight.registry import methods, models
from unweight.report.bibliography import ENTRIES, bibliography

KEY = re.compile(r"^@\w+\{([^,]+),$", re.MULTILINE)


def test_program_methods_colours_and_format_once_each() -> None:
    reference = (
        "Barral et al., Magn Reson Med 64:1057 (2010); Golub and Pereyra, SIAM J Numer Anal 10:413 (1973)"
    )
    text = bibliography(["0.1.0", "0.1.0"], [reference, reference, ""])
    assert KEY.findall(text) == [
        *("unweight-0.1.0", "barral2010", "golub1973"),
        *("fuderer2025", "crameri2020", "karakuzu2022"),
    ]
    assert "Software, version 0.1.0" in text and "pages = {1057--1067}" in text
    assert text.count("{") == text.count("}")


def test_unknown_references_become_notes_without_commands() -> None:
    text = bibliography([], ["Nobody, \\input{x} 50% of $1\n@misc{y, 2030"])
    assert "note = {Nobody,  input x  50  of  1 @misc y, 2030}" in text
    assert text.count("{") == text.count("}")


def test_references_of_the_registry_are_known() -> None:
    families = ("t1", "weighted", "decay", "qsm", "mprage")
    texts = [item.reference for family in families for item in methods(family)]
    texts += [item.reference for item in models()]
    parts = {part.strip() for text in texts for part in text.split(";") if part.strip()}
    assert parts
    known = {part for part in parts if any(entry.mark in part for entry in ENTRIES)}
    assert known == parts
