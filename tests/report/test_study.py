import math
import re

import pytest

from unweight.bids.participants import Participant
from unweight.core.errors import UsageError
from unweight.report.study import (
    Failure,
    QcRow,
    RegionValue,
    Study,
    far_out,
    outliers,
    study_page,
)


def qc(subject: str, median: float, usable: float = 0.95) -> QcRow:
    return QcRow(
        subject=subject, map="T1map", unit="s", voxels=1000, usable=usable, suspect=0.02,
        failed=0.98 - usable, median=median, q25=median - 0.1, q75=median + 0.1, misfit=1.0,
    )  # fmt: skip


def region(subject: str, mean: float) -> RegionValue:
    return RegionValue(
        subject=subject, map="T1map", unit="s", region="putamen", voxels=50, mean=mean, sd=0.05,
        median=mean, q25=mean, q75=mean,
    )  # fmt: skip


USUAL = tuple(qc(f"0{n}", 1.0 + 0.01 * n) for n in range(1, 8))


def test_outliers_follow_iglewicz_and_hoaglin() -> None:
    """Modified z-score 0.6745·(x − median)/MAD above 3.5; here the MAD is 2, so beyond 10.378 from 4."""
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert far_out([*values, 4.0]) == []
    limit = 4.0 + 3.5 * 2.0 / 0.6745
    assert far_out([*values, 4.0, limit - 0.01]) == []
    assert far_out([*values, 4.0, limit + 0.01]) == [8]


def test_fewer_than_five_do_not_say_what_is_usual() -> None:
    assert far_out([1.0, 1.0, 1.0, 99.0]) == []
    assert far_out([1.0, 1.0, 1.0, 1.0, math.nan, 99.0]) == [5]


def test_a_low_share_is_an_outlier_too() -> None:
    rows = (*USUAL, qc("08", 1.04, usable=0.3))
    assert outliers(rows) == {("08", "", "", "T1map")}


def test_page_shows_everyone_and_why_some_failed() -> None:
    study = Study(
        qc=(*USUAL, qc("09", 3.0)),
        regions=tuple(region(f"0{n}", 1.0 + 0.02 * n) for n in range(1, 6)),
        failures=(Failure(subject="sub-11", step="qsm", reason="no phase <script>alert(1)</script>"),),
        participants=tuple(
            Participant(participant_id=f"sub-0{n}", age=20.0 + n, sex="MF"[n % 2]) for n in range(1, 6)
        ),
    )
    page = study_page(study).decode()
    for n in range(1, 8):
        assert f'<a href="sub-0{n}.html">0{n}</a>' in page
    assert page.count('<span class="tag bad">outlier</span>') == 1
    assert "no phase &lt;script&gt;" in page
    assert "<script>alert" not in page
    assert 'href="sub-11.html"' not in page  # nothing was made of it
    assert "T1map in putamen against age, 5 subjects" in page
    assert page.encode() == study_page(study)


def test_empty_study_has_a_page() -> None:
    page = study_page(Study()).decode()
    assert "0 subjects" in page
    assert "No failed steps." in page


def test_only_pages_that_are_there_are_linked() -> None:
    page = study_page(Study(qc=USUAL, pages=frozenset({"01"}))).decode()
    assert re.findall(r'href="(sub-[^"]*)"', page) == ["sub-01.html"]


def test_labels_are_checked() -> None:
    with pytest.raises(UsageError, match="not a subject label"):
        Study(qc=(qc("../../etc", 1.0),))
