import json
import math

import pytest
import torch
from torch import Tensor, nn

from tests.learn.examinations import batch_of, examination, truth, without
from tests.learn.lessons import tiny
from tests.learn.names import MAPS, MAPS_UNCONDITIONED, MAPS_UNET
from tests.learn.weighted.adapters import adapter_of
from unweight.core.errors import UsageError
from unweight.learn.training.conformal import GAUSSIAN, conformal_from_plain
from unweight.learn.training.trainable import new_task
from unweight.learn.weighted.task import MIDDLE, RANGES, SPREAD
from unweight.learn.weighted.validator import EDGES, NAMES, MapsValidator, free_answers


def slabs(size: int = 24) -> dict[str, Tensor]:
    maps = truth(size, 20, 12)
    return batch_of(examination(maps=maps), maps)


SLABS = slabs()
KNOWN = torch.isfinite(SLABS["target"]).all(1)
TRUTH = SLABS["target"].movedim(1, -1)[KNOWN]


def network(method: str = MAPS) -> nn.Module:
    """Return a network that says its middle everywhere."""
    return new_task(tiny(method)).network.eval()


@pytest.mark.parametrize("method", [MAPS, MAPS_UNCONDITIONED, MAPS_UNET])
def test_answers_of_the_voxels_that_count(method: str) -> None:
    found = free_answers(network(method), adapter_of(method), SLABS)
    assert found.free.shape == found.sd.shape == found.truth.shape == (int(KNOWN.sum()), 3)
    torch.testing.assert_close(found.truth, TRUTH)
    torch.testing.assert_close(found.free, torch.tensor(MIDDLE).expand(len(TRUTH), 3))
    torch.testing.assert_close(found.sd[0], torch.tensor(SPREAD) * math.exp(-1.5))


def test_stored_slabs_are_half_precise_and_may_lack_an_image() -> None:
    half = {name: one.half() for name, one in without(SLABS, 1, junk=0.0).items()}
    found = free_answers(network(), adapter_of(MAPS), half)
    assert len(found.free) == len(TRUTH)
    assert bool(torch.isfinite(found.free).all()) and bool(torch.isfinite(found.truth).all())


def test_scores_by_hand() -> None:
    """PSNR = 20 log10(range / rms), the error in per cent of the truth, and how many truths are inside."""
    scores = MapsValidator(slabs=SLABS, adapter=adapter_of(MAPS)).check(network())
    coverage = []
    for index, name in enumerate(("t1", "t2", "pd")):
        true, said = TRUTH[:, index].double(), MIDDLE[index]
        away = math.exp(said) - true.exp()
        rms = float(away.square().mean().sqrt())
        assert scores[f"psnr_{name}"] == pytest.approx(20 * math.log10(RANGES[index] / rms), rel=1e-3)
        relative = 100 * float((away.abs() / true.exp()).mean())
        assert scores[f"percentage_error_{name}"] == pytest.approx(relative, rel=1e-3)
        inside = (true - said).abs() <= GAUSSIAN * SPREAD[index] * math.exp(-1.5)
        coverage.append(float(inside.double().mean()))
    assert scores["coverage_90"] == pytest.approx(sum(coverage) / 3, abs=1e-4)


def test_a_network_that_is_always_right_scores_no_infinity() -> None:
    right = dict(SLABS)
    right["target"] = torch.where(KNOWN[:, None], torch.tensor(MIDDLE)[:, None, None], torch.nan)
    scores = MapsValidator(slabs=right, adapter=adapter_of(MAPS)).check(network())
    assert all(math.isfinite(one) for one in scores.values())
    assert scores["coverage_90"] == 1.0 and scores["psnr_t1"] > 100


def test_calibrated_intervals_hold_what_they_say() -> None:
    """On the slabs that they were found on, 90 % and a little more of each map; as JSON in between."""
    one = MapsValidator(slabs=SLABS, adapter=adapter_of(MAPS))
    calibration = json.loads(json.dumps(one.calibrate(network(), None)))
    assert set(calibration) == set(NAMES)
    for name, edges in zip(NAMES, EDGES, strict=True):
        assert conformal_from_plain(calibration[name]).edges == edges
    scores = one.score(network(), calibration)
    for name in ("t1", "t2", "pd"):
        assert 0.9 <= scores[f"coverage_90_{name}"] <= 1.0
    assert "coverage_90" not in scores and all(math.isfinite(value) for value in scores.values())


def test_intervals_are_found_on_other_slabs() -> None:
    others = dict(SLABS)
    others["target"] = SLABS["target"] + 1.0
    found = MapsValidator(slabs=SLABS, adapter=adapter_of(MAPS))
    one, other = found.calibrate(network(), others), found.calibrate(network(), None)
    assert one == MapsValidator(slabs=others, adapter=adapter_of(MAPS)).calibrate(network(), None)
    assert one != other


def test_too_few_voxels() -> None:
    few = {name: one[:1] for name, one in SLABS.items()}
    few["target"] = few["target"].clone()
    few["target"][:, :, 8:] = torch.nan
    with pytest.raises(UsageError, match="voxels are too few to calibrate intervals on"):
        MapsValidator(slabs=few, adapter=adapter_of(MAPS)).calibrate(network(), None)
