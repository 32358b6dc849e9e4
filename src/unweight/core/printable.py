"""Text as a terminal, a page or a table may have it: what cannot be printed is shown as its escape.

Names of files and what stands in them come from others. Printed as they are, an escape sequence could
recolour or retitle the terminal, a line break could forge a line of output, and a right-to-left mark show
a name as another.
"""


def printable_lines(text: str) -> str:
    """Return the text as `printable` does, its line breaks kept."""
    return "\n".join(printable(line) for line in text.split("\n"))


def printable(text: str) -> str:
    r"""Return the text with each character that cannot be shown written as `\x1b` or `\u202e`."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "backslashreplace").decode()
        for one in text
    )
