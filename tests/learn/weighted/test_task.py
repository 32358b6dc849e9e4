import math

import pytest
import torch
from torch import Tensor

from tests.learn.examinations import FLUID, GRADIENT, SPIN, T2W, batch_of, examination, truth, without
from tests.learn.lessons import tiny
from tests.learn.names import FROM_WEIGHTED, MAPS, MAPS_PGAN, MAPS_UNCONDITIONED, MAPS_UNET
from tests.learn.weighted.adapters import adapter_of
from unweight.core.seeding import seeded_generator
from unweight.learn.training.sample_cache import PatchPool
from unweight.learn.training.trainable import Task, new_task
from unweight.learn.weighted.slabs import WHOLE
from unweight.learn.weighted.task import (
    CYCLE,
    MIDDLE,
    OUTPUTS,
    RANGES,
    SPREAD,
    Channels,
    Conditioned,
    MapsTask,
    Unconditioned,
    answer_maps,
    blind_images,
    cycle_loss,
    maps_loss,
    stacked,
    unexplained,
)
from unweight.signals.weighted import N_TIMINGS, weighted_signal

# Without CSF, which FLAIR shows too dark to count.
BRAIN = truth().clamp(max=torch.tensor([1.45, 0.09, 0.82]))
CONTRASTS = {"spin echo": (SPIN, T2W, FLUID), "MPRAGE": (GRADIENT, T2W, FLUID)}
ADAPTERS = {MAPS: Conditioned(), MAPS_UNCONDITIONED: Unconditioned(), MAPS_UNET: Channels()}


def batch(t1w: str = "spin echo", maps: Tensor = BRAIN) -> dict[str, Tensor]:
    return batch_of(examination(CONTRASTS[t1w], maps=maps), maps)


def task(method: str) -> MapsTask:
    """Return a network with a head that is not zero, so that all of it matters."""
    made = new_task(tiny(method))
    assert isinstance(made, MapsTask)
    head = getattr(made.network, "unet", made.network).head
    with torch.no_grad():
        head.weight.normal_(0, 0.05, generator=seeded_generator(1))
    return made


def exact(of: dict[str, Tensor], gains: tuple[float, ...] = (0.0,) * 3) -> dict[str, Tensor]:
    """Return the batch with images that are the signal of the target times a gain and a receive field."""
    maps = of["target"].nan_to_num().exp()
    rows = of["rows"].double()
    signal = weighted_signal(
        *(maps[:, index : index + 1].double() for index in range(3)), rows[:, :, None, None]
    )
    receive = 0.4 * torch.linspace(-1, 1, maps.shape[-1]).expand(maps.shape[-2:])
    gain = torch.tensor(gains)[:, None, None]
    return of | {"images": signal.log().float() + gain + receive}


def known(of: dict[str, Tensor]) -> Tensor:
    return of["target"].nan_to_num()


def test_an_untrained_network_says_the_middle_with_the_sd_of_its_start() -> None:
    free, sd = answer_maps(torch.zeros(2, OUTPUTS, 4, 5))
    for index in range(3):
        assert free[:, index].unique().tolist() == pytest.approx([MIDDLE[index]])
        assert sd[:, index].unique().tolist() == pytest.approx([SPREAD[index] * math.exp(-1.5)])


def test_answers_have_ends() -> None:
    free, sd = answer_maps(torch.full((1, OUTPUTS, 1, 1), 1e6))
    low, low_sd = answer_maps(torch.full((1, OUTPUTS, 1, 1), -1e6))
    spread, middle = torch.tensor(SPREAD), torch.tensor(MIDDLE)
    torch.testing.assert_close(free[0, :, 0, 0], middle + 6 * spread)
    torch.testing.assert_close(low[0, :, 0, 0], middle - 6 * spread)
    torch.testing.assert_close(sd[0, :, 0, 0], spread * math.exp(2.0))
    torch.testing.assert_close(low_sd[0, :, 0, 0], spread * math.exp(-5.0))


@pytest.mark.parametrize("t1w", CONTRASTS)
@pytest.mark.parametrize("gains", [(0.0, 0.0, 0.0), (0.5, -0.3, 0.2)])
def test_true_maps_leave_nothing_unexplained_whatever_gains_and_receive_field(
    t1w: str, gains: tuple[float, ...]
) -> None:
    of = exact(batch(t1w), gains)
    assert float(cycle_loss(known(of), of)) < 1e-5
    left, counts = unexplained(known(of), of)
    assert left.shape == counts.shape == of["images"].shape
    inside = torch.isfinite(of["target"]).all(1)
    assert torch.equal(counts.bool().all(1), inside)


@pytest.mark.parametrize("missing", range(3))
def test_a_missing_image_is_not_explained(missing: int) -> None:
    of = without(exact(batch(), (0.5, -0.3, 0.2)), missing, junk=0.0)
    left, counts = unexplained(known(of), of)
    assert not left[:, missing].any() and not counts[:, missing].any()
    assert float(cycle_loss(known(of), of)) < 1e-5


def test_wrong_t2_is_seen_by_the_echo_times_it_makes() -> None:
    """T2 of half of the brain is 20 % too long; PD that is wrong by one factor everywhere is not seen."""
    of = exact(batch())
    wrong = known(of).clone()
    wrong[:, 1, :12] += math.log(1.2)
    assert float(cycle_loss(wrong, of)) > 0.02
    shifted = known(of).clone()
    shifted[:, 2] += 0.3
    assert float(cycle_loss(shifted, of)) < 1e-5


def test_dark_voxels_do_not_count() -> None:
    of = exact(batch())
    of["images"][:, 2, 5:8] -= 8.0
    _, counts = unexplained(known(of), of)
    assert not counts[:, 2, 5:8].any() and bool(counts[:, :2, 5:8, 10].all())


def test_loss_of_the_truth_by_hand() -> None:
    """ln sd, and nothing else."""
    of = batch()
    for value in (0.1, 0.5):
        sd = torch.full_like(of["target"], 1.0) * torch.tensor(SPREAD)[:, None, None] * value
        assert float(maps_loss(known(of), sd, of)) == pytest.approx(math.log(value), abs=1e-4)


def test_loss_of_an_error_by_hand() -> None:
    """δ²(√(1 + (z/δ)²) − 1) + ln sd, and ten times the error in the unit of the map over its range."""
    of = batch()
    spread, ranges = (torch.tensor(one)[:, None, None] for one in (SPREAD, RANGES))
    sd, wrong = 0.3 * spread.expand_as(of["target"]), known(of) + 0.4 * spread
    z = 0.4 / 0.3
    likelihood = 2.5**2 * (math.sqrt(1 + (z / 2.5) ** 2) - 1) + math.log(0.3)
    here = torch.isfinite(of["target"])
    away = ((wrong.exp() - known(of).exp()).abs() / ranges)[here].mean()
    assert float(maps_loss(wrong, sd, of)) == pytest.approx(likelihood + 10 * float(away), rel=1e-4)


def test_the_best_sd_is_about_the_error() -> None:
    of = batch()
    spread = torch.tensor(SPREAD)[:, None, None].expand_as(of["target"])

    def loss(sd: float) -> float:
        return float(maps_loss(known(of) + spread, sd * spread, of))

    assert min((0.3, 0.5, 0.9, 1.5, 2.0), key=loss) == 0.9


def test_mixed_voxels_count_less() -> None:
    of = batch()
    spread = torch.tensor(SPREAD)[:, None, None].expand_as(of["target"])
    light = of | {"weight": 0.5 * of["weight"]}
    whole, half = (float(maps_loss(known(of), 0.2 * spread, one)) for one in (of, light))
    assert half == pytest.approx(0.5 * whole, rel=1e-4)


def test_voxels_without_truth_do_not_count() -> None:
    of = batch()
    free = torch.where(torch.isfinite(of["target"]), known(of), 5.0)
    spread = torch.tensor(SPREAD)[:, None, None].expand_as(of["target"])
    assert float(maps_loss(free, spread, of)) == pytest.approx(0.0, abs=1e-4)
    nothing = of | {"target": torch.full_like(of["target"], math.nan)}
    assert float(maps_loss(free, spread, nothing)) == 0.0 == float(cycle_loss(free, nothing))


@pytest.mark.parametrize("method", ADAPTERS)
def test_each_network_is_asked_as_it_was_built(method: str) -> None:
    made = task(method)
    assert made.adapter == adapter_of(method) == ADAPTERS[method]
    assert made.cycle == CYCLE
    assert made.adapter(made.network, batch()).shape == (2, OUTPUTS, 24, 20)


def test_a_plain_network_is_asked_for_images_and_mask() -> None:
    of = batch()
    seen = stacked(of)
    assert seen.shape == (2, 4, 24, 20)
    assert torch.equal(seen[:, 3] > 0.5, torch.isfinite(of["target"]).all(1))


@pytest.mark.parametrize("method", [MAPS_UNCONDITIONED, MAPS_UNET])
def test_who_is_told_nothing_knows_nothing_of_the_timings(method: str) -> None:
    """The same images with other timings and another field: the same maps; the told one answers anew."""
    of, told = batch(), task(MAPS)
    other = dict(of)
    other["rows"] = of["rows"] * torch.where(torch.arange(N_TIMINGS) == 2, 1.3, 1.0)
    other["field"] = of["field"] / 2
    # What the network sees is over the median: the images in the batch carry the reference.
    other["images"] = torch.where(
        of["images"] != 0, of["images"] - blind_images(other) + blind_images(of), 0.0
    )
    torch.testing.assert_close(blind_images(other), blind_images(of))
    made = task(method)
    torch.testing.assert_close(made.adapter(made.network, other), made.adapter(made.network, of))
    assert (told.adapter(told.network, other) - told.adapter(told.network, of)).abs().max() > 1e-3


@pytest.mark.parametrize("method", ADAPTERS)
@pytest.mark.parametrize("missing", range(3))
def test_what_stands_for_a_missing_image_has_no_influence(method: str, missing: int) -> None:
    made, of = task(method), batch()
    one = made.adapter(made.network, without(of, missing, junk=0.0))
    other = without(of, missing, junk=3.0)
    other["images"][:, missing] = 7.0
    torch.testing.assert_close(made.adapter(made.network, other), one)
    assert (one - made.adapter(made.network, of)).abs().max() > 1e-4


def test_the_told_network_does_not_mind_the_order_of_the_images() -> None:
    made, of, order = task(MAPS), batch(), [2, 0, 1]
    other = of | {name: of[name][:, order] for name in ("images", "rows", "levels", "present")}
    torch.testing.assert_close(
        made.adapter(made.network, other), made.adapter(made.network, of), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("method", ADAPTERS)
@pytest.mark.parametrize("t1w", CONTRASTS)
def test_gradients_are_finite_with_a_missing_image(method: str, t1w: str) -> None:
    made, of = task(method), batch(t1w, truth())
    for one in (of, without(of, 0), without(of, 2)):
        made.network.zero_grad()
        loss = made.loss(made.network, one, seeded_generator(0))
        loss.backward()
        slopes = [weight.grad for weight in made.network.parameters() if weight.grad is not None]
        assert bool(torch.isfinite(loss)) and all(bool(torch.isfinite(slope).all()) for slope in slopes)
        assert any(bool(slope.any()) for slope in slopes)


def losses_of(made: Task, n_steps: int) -> list[float]:
    """Train for some steps on patches of one examination."""
    whole = batch(maps=truth())
    pool = PatchPool(
        slabs={name: one.nan_to_num() if name == "images" else one for name, one in whole.items()},
        patch=16,
        batch_size=2,
        whole=WHOLE,
    )
    optimiser = torch.optim.Adam(made.network.parameters(), lr=3e-3)
    generator, losses = seeded_generator(0), []
    for _ in range(n_steps):
        optimiser.zero_grad()
        loss = made.loss(made.network, pool(generator), generator)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("method", ADAPTERS)
def test_a_few_steps_lower_the_loss(method: str) -> None:
    losses = losses_of(new_task(tiny(method)), 24)
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])


def test_all_methods_are_here() -> None:
    assert set(FROM_WEIGHTED) == {*ADAPTERS, MAPS_PGAN}
