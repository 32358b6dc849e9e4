"""Checks of network configurations, with the message the reader sees."""

from unweight.core.errors import UsageError


def check_counts(config: object, *names: str) -> None:
    """Refuse a field that is not a whole number of at least one.

    Raises:
        UsageError: One is not.
    """
    for name in names:
        value = getattr(config, name)
        if not _is_count(value):
            raise UsageError(
                f"{type(config).__name__}.{name} is {value!r}", remedy="Give a whole number of at least 1."
            )


def check_widths(config: object, widths: tuple[int, ...]) -> None:
    """Refuse widths that are not a non-empty tuple of whole numbers of at least one.

    Raises:
        UsageError: They are not.
    """
    if not isinstance(widths, tuple) or not widths or not all(map(_is_count, widths)):
        raise UsageError(
            f"{type(config).__name__}.widths is {widths!r}",
            remedy="Give a tuple with the number of channels of each level, such as (64, 128).",
        )


def check_channels(name: str, *, found: int, expected: int) -> None:
    """Refuse an input with another number of channels than the network was built for.

    Raises:
        UsageError: The numbers differ.
    """
    if found != expected:
        raise UsageError(
            f"{name} has {found} channels, but this network was built for {expected}",
            remedy="Give the channels it was built for, or build it for these.",
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
