from dataclasses import replace
from pathlib import Path

from tests.report.test_shown_set import set_of
from unweight.bids.derivatives.stored import StoredSet
from unweight.learn.brain_mask.finder import SEGMENTED
from unweight.report.methods import citations, facts, methods_paragraph, protocol_table, sources
from unweight.report.shown_set import show_set


def test_timings_are_told_in_milliseconds(derivatives: Path) -> None:
    head, rows = protocol_table(set_of(derivatives, "T1map", acq="ir"))
    assert head == ("volume", "TI [ms]", "TR [ms]")
    assert rows == [("1", "50", "10000"), ("2", "500", "10000"), ("3", "2500", "10000")]


def test_weighted_images_have_a_row_each(derivatives: Path) -> None:
    head, rows = protocol_table(set_of(derivatives, "T1map"))
    assert head == ("image", "readout", "TR [ms]", "TE [ms]")
    assert rows == [("T1w", "spin-echo", "600", "10")]


def test_methods_can_be_pasted(derivatives: Path) -> None:
    stored = set_of(derivatives, "T1map", acq="ir")
    text = methods_paragraph(stored)
    start = "T1, proton density (PD) and inversion efficiency (B) were estimated with unweight "
    assert text.startswith(start) and " (closed form). " in text
    assert "Images were acquired at 3 T (3 volumes; TI = 50, 500, 2500 ms; TR = 10000 ms)." in text
    assert "Maps are in s (T1) and arbitrary units (PD)." in text
    assert "The network (weights t1, SHA-256 00ff) was trained on simulated images." in text
    routine = methods_paragraph(set_of(derivatives, "T1map"))
    assert "Images were acquired at 3 T: T1w (spin-echo; TR = 600 ms; TE = 10 ms)." in routine
    assert "Maps are in s (T1 and T2) and arbitrary units (PD)." in routine
    chi = methods_paragraph(set_of(derivatives, "Chimap"))
    assert chi.startswith("Magnetic susceptibility (χ) was estimated") and "Maps are in ppm (χ)." in chi
    assert ".." not in text + routine + chi
    made = methods_paragraph(set_of(derivatives, "T1w"))
    assert "not measured" in made
    cited = citations([stored])
    assert cited[0].startswith("The unweight developers. unweight: ")
    assert any("10.1002/mrm.30290" in reference for reference in cited)
    assert sources(stored) == ["bids:raw:sub-01/anat/sub-01_x.nii.gz"]


def test_facts_are_flat(derivatives: Path) -> None:
    told = dict(facts(show_set(set_of(derivatives, "T1map", acq="ir"))))
    assert told["MagneticFieldStrength"] == "3 T"
    assert told["Weights.SHA256"] == "00ff"
    assert told["voxel size"] == "2 × 2 × 2 mm"
    assert "Weights.TrainedOn" not in told


def with_mask(stored: StoredSet, how: str) -> StoredSet:
    """Return a set whose sidecar says how the brain mask was made."""
    own = {**stored.own, "Settings": {"BrainMask": how}}
    return replace(stored, fields={**stored.fields, "unweight": own})


def test_the_brain_mask_is_stated_and_cited(derivatives: Path) -> None:
    stored = set_of(derivatives, "T1map", acq="ir")
    network = with_mask(stored, SEGMENTED)
    assert f"The brain was {SEGMENTED}." in methods_paragraph(network)
    assert any("NeuroImage 260:119474" in reference for reference in citations([network]))
    classical = with_mask(stored, "segmented in the last echo")
    assert "The brain was segmented in the last echo." in methods_paragraph(classical)
    assert "A brain mask was provided." in methods_paragraph(with_mask(stored, "given"))
    for other in (stored, classical):
        assert not any("119474" in reference for reference in citations([other]))
