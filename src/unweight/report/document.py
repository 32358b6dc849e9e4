"""A page of HTML that is whole in one file: style, scripts and data inside, nothing fetched.

Pages with the viewer in a file beside them allow scripts from their own folder too.

Whatever comes from files is escaped by the template, control and right-to-left characters too. The policy
in the head of the page allows the scripts and the style that were written here, by their SHA-256, and no
others; no request may leave the page.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from unweight import __version__
from unweight.bids.names import image_stem
from unweight.core.text import printable_lines

TEMPLATES = files("unweight.report") / "templates"
NIIVUE = files("unweight.report") / "vendor" / "niivue.umd.js"
NIIVUE_TERMS = ("LICENSE.niivue", "NOTICES.niivue")
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; object-src 'none'; "
    "img-src data: blob:; connect-src data: blob:; font-src data:; worker-src blob:; "
    "style-src {style}; script-src {scripts}"
)

BESIDE = "'self' file:"  # scripts from the folder of the page, on disk or on a server
SHARED_VIEWER = "unweight-viewer-{digest}.js"
N_DIGITS = 12


@final
class Ours(Markup):
    """A script or the style of this package, which must stand in a page as it is."""


def displayed(value: object) -> object:
    """Return what a template puts into a page: text with what cannot be printed escaped."""
    if isinstance(value, Ours):
        return value
    if isinstance(value, Markup):
        return Markup(printable_lines(value))
    return printable_lines(value) if isinstance(value, str) else value


ENVIRONMENT = Environment(
    finalize=displayed,
    loader=PackageLoader("unweight.report", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(
    template: str, content: Mapping[str, object], scripts: Sequence[str] = (), shared: str = ""
) -> bytes:
    """Return a page.

    Args:
        template: Name of the file of the page; it extends `base.html`.
        content: What the template asks for; text is escaped.
        scripts: Further scripts of ours, in order.
        shared: Name of a script beside the page, which comes before them; none if empty.
    """
    style = packaged("style.css")
    info = (packaged("page.js"), *scripts)
    sources = [*([BESIDE] if shared else []), *map(_hash, info)]
    policy = POLICY.format(style=_hash(style), scripts=" ".join(sources))
    page = ENVIRONMENT.get_template(template).render(
        **content,
        policy=policy,
        style=Ours(style),
        scripts=[Ours(item) for item in info],
        shared=shared,
        version=__version__,
    )
    return page.encode()


def packaged(name: str) -> str:
    """Return a script or style that lies beside the templates."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def niivue() -> str:
    """Return the viewer, fit to stand within a script element."""
    code = NIIVUE.read_text(encoding="utf-8")
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def shared_viewer() -> tuple[str, bytes]:
    """Return the viewer as a file for several pages: its name, which tells its content, and the content."""
    content = f"/*\n{niivue_terms()}\n*/\n{niivue()}".encode()
    return SHARED_VIEWER.format(digest=hashlib.sha256(content).hexdigest()[:N_DIGITS]), content


def niivue_terms() -> str:
    """Return the licence of the viewer, and the notices of the libraries within it."""
    folder = files("unweight.report") / "vendor"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in NIIVUE_TERMS)


def figure_of(path: Path, subject: str) -> str | None:
    """Return the picture of a file of derivatives as a data URL; None if there is none.

    Args:
        path: A map, label image or table.
        subject: Label, without `sub-`; the picture is in the folder `figures` of the subject.
    """
    folder = next((parent for parent in path.parents if parent.name == f"sub-{subject}"), None)
    stem = image_stem(path) or path.stem
    picture = None if folder is None else folder / "figures" / f"{stem}.png"
    if picture is None or not picture.is_file():
        return None
    return data_url("image/png", picture.read_bytes())


def data_url(kind: str, content: bytes) -> str:
    """Return content as an address that a page can hold."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
