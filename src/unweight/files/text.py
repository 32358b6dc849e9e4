"""Text as spreadsheets write it, whatever its encoding and line ends."""

import codecs
import re

LINE_END = re.compile(r"\r\n|\r|\n")
MARKS = (  # the mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def lines_of(content: bytes) -> list[str]:
    """Return the lines of a text that are not blank.

    A byte-order mark tells the encoding. Without one it is UTF-16 if there are zero bytes, else UTF-8, else
    what Windows calls 1252, of which Latin-1 is a part.

    Raises:
        UnicodeDecodeError: It is no text.
    """
    return [line for line in LINE_END.split(content.decode(_encoding(content))) if line.strip()]


def _encoding(content: bytes) -> str:
    for mark, encoding in MARKS:
        if content.startswith(mark):
            return encoding
    if b"\0" in content:
        return "utf-16-le" if content[1::2].count(0) > content[::2].count(0) else "utf-16-be"
    for encoding in ("utf-8", "cp1252"):
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "latin-1"
