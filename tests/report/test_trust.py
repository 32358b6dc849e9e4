from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.test_shown_set import set_of
from unweight.core.maps import CHI_SQUARE
from unweight.registry import pipeline, pipelines
from unweight.report.shown_set import show_set
from unweight.report.trust import caveats, pipeline_of, place_of, quality_label, title_of, trained_on


@pytest.mark.parametrize(
    ("suffix", "entities", "command"),
    [
        ("T1map", {"acq": "ir"}, "t1"),
        ("T1map", {}, "maps"),
        ("R2starmap", {}, "r2star"),
        ("T2map", {"ses": "b", "run": "2"}, "t2"),
        ("Chimap", {}, "qsm"),
        ("T1w", {}, "mprage"),
    ],
)
def test_sets_tell_their_pipeline(
    derivatives: Path, suffix: str, entities: dict[str, str], command: str
) -> None:
    shown = show_set(set_of(derivatives, suffix, **entities))
    assert pipeline_of(shown) is pipeline(command)
    assert title_of(shown) == pipeline(command).title
    assert place_of(shown) == (pipelines().index(pipeline(command)), 0)


def test_a_t1_map_by_itself_comes_behind_other_t1_maps(derivatives: Path) -> None:
    stored = set_of(derivatives, "T1map", acq="ir")
    alone = show_set(replace(stored, images=stored.images[:1]))
    assert pipeline_of(alone) is None and title_of(alone) == "T1"
    of_t1 = [number for number, item in enumerate(pipelines()) if item.first[0] == "T1map"]
    assert place_of(alone) == (of_t1[-1], 1)


def test_words_count_what_is_not_to_be_believed(derivatives: Path) -> None:
    shown = show_set(set_of(derivatives, "T1map", acq="ir"))
    told = caveats(shown)
    assert told[0].startswith(f"{100 * 4 / shown.inside:.2f} % of the voxels with signal")
    assert "have no value (not converged: the fit did not converge)" in told[1]
    assert any(one.startswith("Misfit of usable voxels: median 1.") for one in told)
    assert any(one.startswith("A remark ") for one in told)


def test_misfit_of_earlier_sidecars_is_explained(derivatives: Path) -> None:
    shown = show_set(set_of(derivatives, "T1map", acq="ir"))
    assert shown.misfit_meaning == CHI_SQUARE
    earlier = replace(
        shown, misfit_meaning="Reduced chi-square of the signal model; 1 is what noise explains"
    )
    assert caveats(earlier) == caveats(shown)
    assert any("Misfit" in text and "the residuals are noise" in text for text in caveats(earlier))


def test_verdict_follows_the_share_and_what_is_missing(derivatives: Path) -> None:
    assert quality_label(show_set(set_of(derivatives, "Chimap")))[0] == "good"
    (derivatives / "sub-01" / "anat" / "sub-01_desc-std_Chimap.nii.gz").unlink()
    assert quality_label(show_set(set_of(derivatives, "Chimap"))) == ("bad", "incomplete")


def test_training_is_found_wherever_it_is_told() -> None:
    assert trained_on({"Settings": {"Weights": {"TrainedOn": "a"}}}) == "a"
    assert trained_on({"Settings": {"Weights": "mprage", "TrainedOn": "b"}}) == "b"
    assert trained_on({"Settings": {"Method": "embedding"}}) == "simulated images"
    assert trained_on({"Settings": {"Method": "physics"}}) == trained_on({"Settings": 3}) == ""
