import base64
import hashlib
import re
from importlib.resources import files

from markupsafe import Markup

from unweight.report.document import Ours, displayed, niivue, niivue_terms, packaged
from unweight.report.study import Failure, Study, study_page


def test_policy_names_every_script_and_style_by_its_hash() -> None:
    page = study_page(Study()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    told = policy[1].replace("&#39;", "'")
    assert "default-src 'none'" in told
    assert "unsafe" not in told
    assert "http" not in told
    for kind in ("script", "style"):
        blocks = re.findall(f"<{kind}>(.*?)</{kind}>", page, flags=re.DOTALL)
        assert blocks
        for block in blocks:
            digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in told


def test_no_attribute_carries_script_or_style() -> None:
    page = study_page(Study()).decode()
    body = re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)
    assert not re.search(r"\s(on\w+|style)=", body)


def test_viewer_cannot_close_its_script() -> None:
    code = niivue()
    assert "</script" not in code.lower()
    assert "<!--" not in code
    assert "Niivue" in code
    assert "</script" not in packaged("page.js")


def test_what_cannot_be_shown_is_escaped_and_lines_stay() -> None:
    """Text of a template, of a drawing (already markup), and what is not to be touched."""
    assert displayed("a\x1b[31m\u202eb\nc") == "a\\x1b[31m\\u202eb\nc"
    drawing = displayed(Markup("<text>{}</text>").format("<\u202e>"))
    assert drawing == "<text>&lt;\\u202e&gt;</text>" and isinstance(drawing, Markup)
    assert displayed(Ours("\x0b")) == "\x0b" and displayed(3) == 3


def test_a_page_of_hostile_names() -> None:
    failure = Failure(subject="sub-1", step="t1\x1b[31m", reason="\u2066<b>\u2069\x07")
    page = study_page(Study(failures=(failure,))).decode()
    body = re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)
    assert r"t1\x1b[31m" in body and r"\u2066&lt;b&gt;\u2069\x07" in body
    assert not [one for one in body if not one.isprintable() and one != "\n"]


def test_the_libraries_within_the_viewer_have_their_notices() -> None:
    terms = niivue_terms()
    assert "Copyright (c) 2021, Niivue" in terms
    for name in (
        "fflate",
        "gl-matrix",
        "nifti-reader-js",
        "zarrita",
        "numcodecs",
        "structured-clone",
        "@zarrita/storage",
        "array-equal",
        "@lukeed/uuid",
        "Zstandard",
        "Papaya",
        "FastSurfer",
        "Not confirmed from a licence file",
    ):
        assert name in terms
    content = (files("unweight.report") / "vendor" / "niivue.umd.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() in terms  # what the notices were read for
