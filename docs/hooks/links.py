"""Links of the pages as they lie in the repository, turned into those of the built documentation.

The command reference, the model cards and the tutorials exist only once the documentation is built. Pages
link to what these are made from, so that every link works in a checkout and on a forge, and Sphinx is
given the link to the page.
"""

import re

PAGES = (
    (
        r"\[`unweight ([a-z0-9]+)`\]\(../src/unweight/cli/\w+\.py\)",
        r"[`unweight \1`](generated/commands/\1.md)",
    ),
    (r"\(../src/unweight/cli/catalogue\.py\)", "(generated/commands/index.md)"),
    (r"\(../src/unweight/weights/([a-z0-9-]+)\.json\)", r"(generated/cards/\1.md)"),
    (r"\(../src/unweight/weights\)", "(generated/cards/index.md)"),
    (r"\(../examples/README\.txt\)", "(tutorials/index.rst)"),
    (r"\(../examples/(plot_\w+)\.py\)", r"(tutorials/\1.rst)"),
)


def built(text: str) -> str:
    """Return a page with its links to sources replaced by those to the pages made from them."""
    for pattern, link in PAGES:
        text = re.sub(pattern, link, text)
    return text
