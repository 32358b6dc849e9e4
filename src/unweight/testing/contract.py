"""How a broken contract is reported: an AssertionError that `python -O` does not remove."""


class ContractError(AssertionError):
    """A class does not do what its contract promises; the message says which promise and how."""


def demand(kept: bool, broken: str) -> None:
    """Raise unless the promise is kept.

    Args:
        kept: Whether it is.
        broken: What to tell the author of the class.

    Raises:
        ContractError: It is not.
    """
    if not kept:
        raise ContractError(broken)
