import json
import re
from pathlib import Path

import pytest

from tests.report.conftest import EVIL
from unweight.core.errors import InputError
from unweight.report.subject import LARGEST_PAGE, subject_page, write_subject_page


def words(page: str) -> str:
    """Return what a reader sees, without scripts and tags."""
    text = re.sub(r"<(script|style)[^>]*>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


@pytest.fixture
def page(derivatives: Path) -> str:
    return subject_page(derivatives, "01").decode()


def test_every_set_has_a_section(page: str) -> None:
    seen = words(page)
    for told in (
        "T1 from inversion recovery acq-ir",
        "T1, T2 and PD from routine images",
        "R2* and T2*",
        "Magnetic susceptibility (QSM)",
        "Synthetic T1w image (not measured)",
        "T2 ses-b run-2",
    ):
        assert told in seen
    assert page.count('class="row') == 3 + 3 + 1 + 1 + 1 + 1
    assert "synthetic, not measured" in seen
    assert "Research use only" in seen


def test_trust_is_told_with_counts_and_reasons(page: str) -> None:
    seen = words(page)
    assert "implausible 4 " in seen
    assert "the residuals of the signal model exceed the noise" in seen
    assert "trained on simulated images only" in seen
    assert "1600 simulated slabs" in seen
    assert "Susceptibility is relative to the reference" in seen


def test_protocol_methods_and_sources_are_told(page: str) -> None:
    seen = words(page)
    assert "TI [ms]" in seen
    assert "50, 500, 2500" in seen  # in the methods
    assert "were estimated with unweight" in seen
    assert "bids:raw:sub-01/anat/sub-01_x.nii.gz" in seen
    assert len(re.findall(r"<code>[0-9a-f]{64}</code>", page)) > 30


def test_what_comes_from_files_cannot_run(page: str, derivatives: Path) -> None:
    assert "pwned" in page
    assert "<img src=x" not in page
    assert "<script>window.pwned" not in page
    data = re.search(r'<script type="application/json" id="volumes">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["maps"][0]["value"]["title"] == "T1"
    assert EVIL not in page


def test_same_derivatives_same_page_wherever_they_lie(derivatives: Path, tmp_path: Path) -> None:
    first = subject_page(derivatives, "01")
    other = tmp_path / "elsewhere"
    other.mkdir()
    (derivatives / "sub-01").rename(other / "sub-01")
    assert subject_page(other, "01") == first
    assert str(tmp_path).encode() not in first
    assert len(first) < LARGEST_PAGE


def test_nothing_is_asked_of_a_network(page: str) -> None:
    markup = re.sub(r"<(script|style)[^>]*>.*?</\1>", " ", page, flags=re.DOTALL)
    for address in re.findall(r'(?:src|href)="([^"]*)"', markup):
        assert address.startswith(("data:image/png;base64,", "#"))


def test_spheres_and_regions_are_shown(derivatives: Path) -> None:
    folder = derivatives / "sub-01" / "anat"
    head = "sphere\tt1_nominal_s\tt1_mean_s\tt1_sd_s\terror_percent\tstatus\n"
    (folder / "sub-01_acq-ir_desc-plate5_phantom.tsv").write_text(
        f"{head}1\t1.884\t1.9036\t0.0293\t1.04\tok\n"
    )
    (folder / "sub-01_desc-nuclei_regions.tsv").write_text(
        "map\tregion\tvoxels\tmean\nT1\tputamen\t50\tn/a\n"
    )
    seen = words(subject_page(derivatives, "01").decode())
    assert "Spheres of the system phantom" in seen
    assert "1 1.88 1.9 0.0293 1.04 ok" in seen
    assert "sub-01_desc-nuclei_regions.tsv" in seen
    assert "T1 putamen 50 –" in seen


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("sub-01_T1map.json", "{", "sub-01_T1map.json"),
        (
            "sub-01_T1map.json",
            '{"unweight": {"SHA256": {"sub-01_T1map.nii.gz": "00"}, "Settings": 3}}',
            "changed",
        ),
        ("sub-01_desc-std_Chimap.nii.gz", "no image", "changed since it was written"),
        ("sub-01_desc-status_dseg.nii.gz", "no image", "counts as usable"),
        ("sub-01_Chimap.nii.gz", "no image", "none of its maps could be read"),
    ],
)
def test_damage_is_told_and_the_rest_is_shown(
    derivatives: Path, name: str, content: str, told: str
) -> None:
    (derivatives / "sub-01" / "anat" / name).write_text(content)
    seen = words(subject_page(derivatives, "01").decode())
    assert told in seen
    assert "R2* and T2*" in seen


def test_a_subject_without_sets_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "sub-02" / "anat").mkdir(parents=True)
    assert "No set of maps" in words(write_subject_page(tmp_path, "02").read_text())


def test_unknown_subject(derivatives: Path) -> None:
    with pytest.raises(InputError, match="no maps of subject 99"):
        subject_page(derivatives, "99")
