import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from unweight.core.errors import InputError, UsageError
from unweight.core.seeding import seeded_generator
from unweight.learn.training.conformal import (
    EDGES,
    FEWEST,
    GAUSSIAN,
    LEVEL,
    Conformal,
    calibrate,
    conformal_from_plain,
)

PER_BIN = 4000


def normal(count: int, generator: torch.Generator) -> Tensor:
    return torch.randn(count, generator=generator)


def heavy(count: int, generator: torch.Generator) -> Tensor:
    """Student's t with three degrees of freedom."""
    return normal(count, generator) / (torch.randn(count, 3, generator=generator).square().mean(1).sqrt())


def voxels(law: object, seed: int, per_bin: int = PER_BIN) -> tuple[Tensor, Tensor, Tensor]:
    """Draw means in every bin, with errors twice as large as in the one before; sd knows nothing of it."""
    generator = seeded_generator(seed, "voxels")
    edges = (0.02, *EDGES, 5.0)
    means, errors = [], []
    for index, (low, high) in enumerate(pairwise(edges)):
        share = torch.rand(per_bin, generator=generator)
        means.append(math.log(low) + share * math.log(high / low))
        errors.append(2**index * law(per_bin, generator))  # type: ignore[operator]
    mean, error = torch.cat(means), torch.cat(errors)
    sd = 0.01 + 0.1 * torch.rand(len(mean), generator=generator)
    return mean, sd, mean + sd * error


@pytest.mark.parametrize("law", [normal, heavy])
def test_new_voxels_are_covered_in_every_bin(law: object) -> None:
    found = calibrate(*voxels(law, 0))
    mean, sd, truth = voxels(law, 1)
    inside = (truth - mean).abs() <= sd * found.half_width(mean)
    # Both samples are drawn: the coverage of a bin is known to this, and 4 of it.
    allowed = 4 * (2 * LEVEL * (1 - LEVEL) / PER_BIN) ** 0.5
    for index in range(len(EDGES) + 1):
        assert float(inside[found.bins(mean) == index].double().mean()) == pytest.approx(LEVEL, abs=allowed)
    rising = torch.tensor(found.factors)
    torch.testing.assert_close(rising[1:] / rising[:-1], torch.full((5,), 2.0), rtol=0.12, atol=0)


def test_factors_of_known_laws() -> None:
    """Half-widths of central 90 % intervals: 1.645 sd of a normal law, 2.353 of Student's t with three."""
    for law, quantile in ((normal, GAUSSIAN), (heavy, 2.3534)):
        # Density at the quantile, both tails: 0.206 and 0.081; √(0.09/n) over that is the error.
        assert calibrate(*voxels(law, 0, 20_000)).factors[0] == pytest.approx(quantile, rel=0.03)


def test_the_factor_is_the_next_larger_value() -> None:
    """Of the errors 1 … 999 the ⌈1000·0.9⌉-th smallest, 900."""
    for count in (1999, 999):
        away = torch.arange(1.0, count + 1)[torch.randperm(count, generator=seeded_generator(0))]
        found = calibrate(torch.zeros(count), torch.ones(count), away, edges=(0.1,))
        assert found.factors[1] == math.ceil((count + 1) * LEVEL)


def test_a_bin_with_too_few_voxels_takes_the_factor_of_all() -> None:
    generator = seeded_generator(0)
    mean = torch.cat([torch.full((FEWEST - 1,), math.log(0.05)), torch.full((3000,), math.log(1.0))])
    error = normal(len(mean), generator)
    error[: FEWEST - 1] *= 10
    everywhere = calibrate(mean, torch.ones_like(mean), mean + error, edges=())
    found = calibrate(mean, torch.ones_like(mean), mean + error, edges=(0.1, 0.5, 2.0))
    assert found.factors[0] == found.factors[1] == found.factors[3] == everywhere.factors[0]
    assert found.factors[2] == pytest.approx(GAUSSIAN, rel=0.08)
    one_more = torch.cat([mean, mean[:1]]), torch.cat([error, error[:1]])
    enough = calibrate(one_more[0], torch.ones(len(one_more[0])), sum(one_more), edges=(0.1, 0.5, 2.0))
    assert enough.factors[0] == pytest.approx(10 * GAUSSIAN, rel=0.25)


def test_bins_go_by_the_estimate() -> None:
    conformal = Conformal(edges=(0.1, 1.0), factors=(1.0, 2.0, 3.0))
    log_t1 = torch.tensor([[0.01, 0.5], [3.0, 0.11]]).log()
    assert conformal.half_width(log_t1).tolist() == [[1.0, 2.0], [3.0, 2.0]]
    assert torch.equal(conformal.half_width(log_t1.T), conformal.half_width(log_t1).T)
    assert conformal.half_width(log_t1.double()).dtype == torch.float64
    assert (Conformal().half_width(log_t1) == torch.tensor(GAUSSIAN)).all()


def test_round_trip() -> None:
    for one in (Conformal(), calibrate(*voxels(heavy, 0)), Conformal(edges=(), factors=(2.0,))):
        assert conformal_from_plain(json.loads(json.dumps(one.to_plain()))) == one
    assert Conformal().to_plain()["level"] == LEVEL


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"edges": [0.1]},
        {"edges": [0.1], "factors": [1.0]},
        {"edges": [0.1], "factors": [1.0, -1.0]},
        {"edges": [0.2, 0.1], "factors": [1.0, 1.0, 1.0]},
        {"edges": [0.1], "factors": ["wide", 1.0]},
        {"edges": 0.1, "factors": [1.0, 1.0]},
    ],
)
def test_a_card_without_it_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(InputError, match="no valid calibration"):
        conformal_from_plain(values)


def test_messages() -> None:
    few = torch.zeros(FEWEST - 1)
    with pytest.raises(UsageError, match="199 voxels are too few to calibrate intervals on"):
        calibrate(few, few + 1, few)
    with pytest.raises(UsageError, match="2 factors for 6 bins of T1"):
        Conformal(factors=(1.0, 1.0))
    with pytest.raises(UsageError, match=r"the edges \(1.0, 0.5\) do not rise"):
        replace(Conformal(edges=(0.5, 1.0), factors=(1.0,) * 3), edges=(1.0, 0.5))
