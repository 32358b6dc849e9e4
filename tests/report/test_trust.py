from pathlib import Path

import pytest

from tests.report.test_shown_set import set_of
from unweight.report.shown_set import show_set
from unweight.report.trust import Kind, doubts, kind_of, trained_on, verdict


@pytest.mark.parametrize(
    ("suffix", "entities", "kind"),
    [
        ("T1map", {"acq": "ir"}, Kind.INVERSION),
        ("T1map", {}, Kind.ROUTINE),
        ("R2starmap", {}, Kind.R2STAR),
        ("T2map", {"ses": "b", "run": "2"}, Kind.T2),
        ("Chimap", {}, Kind.CHI),
        ("T1w", {}, Kind.T1W),
    ],
)
def test_kinds(derivatives: Path, suffix: str, entities: dict[str, str], kind: Kind) -> None:
    assert kind_of(show_set(set_of(derivatives, suffix, **entities))) is kind


def test_words_count_what_is_not_to_be_believed(derivatives: Path) -> None:
    shown = show_set(set_of(derivatives, "T1map", acq="ir"))
    told = doubts(shown)
    assert told[0].startswith(f"{100 * 4 / shown.inside:.2f} % of the voxels with signal")
    assert "have no value (not converged: the fit did not settle)" in told[1]
    assert any(one.startswith("Misfit of usable voxels: median 1.") for one in told)
    assert any(one.startswith("A remark ") for one in told)


def test_verdict_follows_the_share_and_what_is_missing(derivatives: Path) -> None:
    assert verdict(show_set(set_of(derivatives, "Chimap")))[0] == "good"
    (derivatives / "sub-01" / "anat" / "sub-01_desc-std_Chimap.nii.gz").unlink()
    assert verdict(show_set(set_of(derivatives, "Chimap"))) == ("bad", "incomplete")


def test_training_is_found_wherever_it_is_told() -> None:
    assert trained_on({"Settings": {"Weights": {"TrainedOn": "a"}}}) == "a"
    assert trained_on({"Settings": {"Weights": "mprage", "TrainedOn": "b"}}) == "b"
    assert trained_on({"Settings": {"Method": "embedding"}}) == "simulated images"
    assert trained_on({"Settings": {"Method": "physics"}}) == trained_on({"Settings": 3}) == ""
