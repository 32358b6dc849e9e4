"""Text as a terminal may have it: what is no printable character is shown as its escape.

Names of files and what stands in them come from others. Printed as they are, an escape sequence could
recolour or retitle the terminal, and a line break could forge a line of output.
"""


def printable(text: str) -> str:
    r"""Return the text with each character that cannot be shown written as `\x1b` or `\u202e`."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "backslashreplace").decode()
        for one in text
    )
