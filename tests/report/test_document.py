import base64
import hashlib
import re

from unweight.report.document import niivue, packaged
from unweight.report.study import Study, study_page


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
