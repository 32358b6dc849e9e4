"""Further scans of one simulated person: their protocols, and pairs that share what they should."""

from functools import cache

import pytest
import torch

from unweight.core.seeding import seeded_generator
from unweight.learn.pairs.cohort import WIDE, CohortRecipe, person_pair
from unweight.learn.pairs.echo_channels import CHI, LEVEL, MASK
from unweight.learn.pairs.pair import Pair
from unweight.learn.pairs.scan_range import SCAN, EchoScanRange, plain_scan, t1_contrast
from unweight.learn.pairs.wide_scans import ENDS, draw_wide_scan
from unweight.learn.training.recipe import without_newer
from unweight.metrics.structures import LABELS
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.procedural_head import procedural_head

N_SCANS = 4
COARSE = CohortRecipe(
    n=(2, 1, 1), voxel_mm=4.0, fine_every=0, n_scans=N_SCANS, pd_spread=0.05, with_phase=0.0
)


@cache
def head() -> Anatomy:
    return procedural_head(
        seeded_generator(1), shape=(91, 112, 91), voxel_mm=(2.0, 2.0, 2.0), centre_mm=(0.0, -16.0, 8.0)
    )


@cache
def pairs() -> tuple[Pair, ...]:
    """All scans of the second person of the training, magnitudes alone."""
    pytest.importorskip("SimpleITK")
    numbers = [index for index in COARSE.pair_indices("train") if index // (1 + N_SCANS) == 1]
    return tuple(person_pair(COARSE, (head(),), "train", index) for index in numbers)


def test_protocols_lie_in_the_range_of_the_card() -> None:
    generator, trained = seeded_generator(3), EchoScanRange(ends=ENDS)
    scans = [plain_scan(draw_wide_scan(generator).protocol) for _ in range(200)]
    for name, (low, high) in ENDS.items():
        if name != "snr":
            assert all(low - 1e-9 <= scan[name] <= high + 1e-9 for scan in scans), name
    assert trained.unknown == ()
    contrasts = [t1_contrast(scan["flip_angle"], scan["repetition_time"]) for scan in scans]
    assert min(contrasts) < -0.2 and max(contrasts) > 0.15
    assert WIDE.scans == dict(ENDS)


def test_numbers_of_pairs_follow_the_people() -> None:
    assert list(COARSE.pair_indices("train")) == list(range(10))
    assert list(COARSE.pair_indices("validation")) == list(range(10, 15))
    assert list(CohortRecipe(n=(3, 2, 1)).pair_indices("validation")) == [3, 4]


def test_scans_of_one_person_share_image_and_brain() -> None:
    made = pairs()
    assert len({pair.name for pair in made}) == len(made) == 1 + N_SCANS
    first, *others = made
    assert not first.channels[CHI].any()
    inside = first.channels[MASK] > 0
    for pair in others:
        assert pair.about["age"] == first.about["age"] and pair.about[SCAN] != first.about[SCAN]
        here = pair.channels[MASK] > 0
        assert int(here.sum()) <= int(inside.sum())
        # The same image, cut to the part that was scanned.
        assert sorted(pair.target[here].tolist())[-1] == pytest.approx(float(first.target.max()), rel=0.2)


def test_the_contrast_of_the_echoes_is_that_of_the_scan() -> None:
    """Where the steady state has grey matter darker, it is; noise and decay leave the order."""

    def darker(pair: Pair) -> float:
        level = pair.channels[LEVEL].float()
        grey, white = (
            level[pair.labels == LABELS[name]].median() for name in ("grey_matter", "white_matter")
        )
        return float(grey - white)

    def expected(pair: Pair) -> float:
        scan = pair.about[SCAN]
        assert isinstance(scan, dict)
        return t1_contrast(scan["flip_angle"], scan["repetition_time"])

    rows = torch.tensor([[expected(pair), darker(pair)] for pair in pairs()])
    assert float(torch.corrcoef(rows.T)[0, 1]) > 0.8


def test_what_earlier_releases_wrote_of_a_cohort_is_the_same() -> None:
    plain = without_newer(CohortRecipe())
    assert not {"n_scans", "pd_spread", "with_phase"} & plain.keys()
    assert without_newer(COARSE)["n_scans"] == N_SCANS
