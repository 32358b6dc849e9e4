"""How Sphinx makes the documentation: `make docs`. Nothing is fetched; pages of data are made first."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from hooks.api import write_api  # noqa: E402 (the path comes first)
from hooks.cards import write_cards  # noqa: E402
from hooks.commands import write_commands  # noqa: E402
from hooks.docstrings import to_rst  # noqa: E402
from hooks.gallery import runnable  # noqa: E402
from hooks.links import built  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

from unweight import __version__  # noqa: E402

project = "unweight"
author = "The unweight developers"
project_copyright = "The unweight developers"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_gallery.gen_gallery"]
exclude_patterns = [
    "_build",
    "hooks",
    "tutorials/*.py",
    "tutorials/*.ipynb",
    "**/sg_execution_times.rst",
    "sg_execution_times.rst",
]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
highlight_language = "none"
default_role = "literal"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_use_rtype = False
add_module_names = False
# Other packages are not linked to: that would need their indices from the network.
# Nor are type variables, and parts of unions, which Sphinx takes for classes.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!unweight\.).*"),
    (r"py:.*", r"unweight\.core\.estimator\.Measured|unweight\.fit\.blocks\.Result|.* \| .*"),
]

html_theme = "furo"
html_title = f"unweight {release}"
html_static_path = ["_static"]
html_css_files = ["unweight.css"]
html_copy_source = False
html_show_sourcelink = False

sphinx_gallery_conf = {
    "examples_dirs": [str(HERE.parent / "examples")],
    "gallery_dirs": ["tutorials"],
    "filename_pattern": runnable(),
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "min_reported_time": 0,
    "copyfile_regex": "",
    "abort_on_example_error": True,
    "capture_repr": (),
    "plot_gallery": "True",
}

NO_FORM = re.compile(r"<[^<>]*>")
GENERATED = HERE / "generated"
write_commands(GENERATED / "commands")
write_cards(GENERATED / "cards")
write_api(GENERATED / "api")


def _docstring(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Make reStructuredText of a docstring before napoleon reads it."""
    lines[:] = to_rst(lines)


def _signature(
    app: Sphinx,
    what: str,
    name: str,
    thing: object,
    options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Write defaults that have no Python form, as `<factory>`, so that the rest can be read and linked."""
    return (None if signature is None else NO_FORM.sub("...", signature)), returned


def _source(app: Sphinx, name: str, source: list[str]) -> None:
    """Let the links of a page lead to what is built here."""
    source[0] = built(source[0])


def setup(app: Sphinx) -> None:
    """Connect what is ours."""
    app.connect("autodoc-process-docstring", _docstring, priority=400)
    app.connect("autodoc-process-signature", _signature)
    app.connect("source-read", _source)
