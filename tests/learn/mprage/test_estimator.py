"""The estimator against a network that says what it was told."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
import torch
from jaxtyping import Bool
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.estimator import Progress
from unweight.core.maps import VoxelStatus
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.learn.mprage.estimator import T1W_IMAGE, EchoT1w
from unweight.learn.mprage.synthesis import Synthesis, Synthesiser
from unweight.learn.pairs.echo_channels import CHI, DECAYS, EVERYTHING, LEVEL, MASK, R2STAR, Conditions
from unweight.learn.pairs.pair import EchoMaps

SHAPE, MM = (10, 11, 12), 1.2
TIMES = tuple(0.004 * echo for echo in range(1, 9))
INSIDE = torch.zeros(SHAPE, dtype=torch.bool)
INSIDE[1:-1, 1:-1, 2:-1] = True
RATE = 20 + 10 * torch.rand(SHAPE, generator=seeded_generator(1))
CHI_MAP = 0.05 * torch.randn(SHAPE, generator=seeded_generator(2))
BRIGHT, FAST, MAGNETIC, NAMELESS = (3, 4, 5), (4, 5, 6), (5, 6, 7), (6, 7, 8)


@dataclass(frozen=True, kw_only=True, eq=False)
class Repeats(Synthesiser):
    """The image is LEVEL about 1, its standard deviation 0.1; and it remembers."""

    n_draws: int = 0
    told: list[Conditions] = field(default_factory=list)
    shown: list[Tensor] = field(default_factory=list)

    def __call__(
        self, channels: Tensor, conditions: Conditions = EVERYTHING, progress: Progress | None = None
    ) -> Synthesis:
        self.told.append(conditions)
        self.shown.append(channels)
        inside = channels[MASK] > 0
        if progress is not None:
            progress(1, 1)
        mean = (1 + channels[LEVEL] / 8) * inside
        return Synthesis(
            mean=mean,
            sd=torch.where(inside, 0.1, math.nan),
            draws=tuple((mean + 0.01 * number) * inside for number in range(1, self.n_draws + 1)),
        )

    def n_calls(self, mask: Bool[Tensor, "x y z"]) -> int:
        return 1

    def once(self, channels: Tensor) -> None:
        self.told.append(EVERYTHING)


def affine(mm: float = MM) -> Tensor:
    return torch.diag(torch.tensor([mm, mm, mm, 1.0], dtype=torch.float64))


def signal(rate: Tensor = RATE) -> Tensor:
    te = torch.tensor(TIMES)
    height = 900 * torch.exp(0.1 * torch.randn(SHAPE, generator=seeded_generator(3)))
    return height[..., None] * torch.exp(-rate[..., None] * te)


def measured(field_strength: float | None = 3.0, *, phase: bool = False, **changes: object) -> Acquisition:
    given: dict[str, object] = {
        "signal": signal(),
        "protocol": protocol_from_values(echo_time=TIMES, field_strength=field_strength),
        "affine": affine(),
        "mask": INSIDE,
    }
    given |= changes
    if phase:
        given["signal"] = torch.polar(given["signal"], torch.full((*SHAPE, len(TIMES)), 0.3))  # type: ignore[arg-type]
        given["kind"] = SignalKind.COMPLEX
    return Acquisition(**given)  # type: ignore[arg-type]


def estimator(synthesise: Repeats | None = None, **settings: object) -> tuple[EchoT1w, Repeats]:
    repeats = synthesise or Repeats()
    return EchoT1w(synthesise=repeats, **settings), repeats  # type: ignore[arg-type]


def given(**changes: Tensor) -> Mapping[str, Tensor]:
    return {"R2star": RATE.clone(), "Chi": CHI_MAP.clone()} | changes


@pytest.mark.parametrize("phase", [False, True])
def test_the_contract(phase: bool) -> None:
    """Of a volume: `check_estimator` gives masks without affine, and a median is of the whole mask."""
    made, repeats = estimator(given=given())
    acquisition = measured(phase=phase)
    before = acquisition.signal.clone()
    maps, again = made(acquisition), made(acquisition)
    assert torch.equal(acquisition.signal, before)
    assert maps.specs == made.parameters == (T1W_IMAGE,)
    assert (T1W_IMAGE.suffix, T1W_IMAGE.desc) == ("T1w", "synth")
    assert maps.values.shape == maps.std.shape == (*SHAPE, 1)
    assert maps.values.dtype == torch.float32
    assert torch.equal(maps.failed, ~INSIDE)
    assert bool((maps.status[~INSIDE] == VoxelStatus.MASKED).all())
    assert bool(maps.values[~INSIDE].isnan().all()) and bool(maps.std[~INSIDE].isnan().all())
    channels = repeats.shown[0]
    torch.testing.assert_close(maps.value("T1w")[INSIDE], (1 + channels[LEVEL] / 8)[INSIDE])
    assert maps.deviation("T1w")[INSIDE].unique().tolist() == pytest.approx([0.1])
    assert torch.equal(maps.values.nan_to_num(), again.values.nan_to_num())
    assert maps.draws is None
    torch.testing.assert_close(maps.affine, affine())


def test_the_network_sees_the_echoes_and_the_maps() -> None:
    """−R2*·(τ − 4 ms), R2* over 50 1/s, χ over 0.1 ppm less its median."""
    made, repeats = estimator(given={"Chi": CHI_MAP})
    made(measured())
    (channels,) = repeats.shown
    torch.testing.assert_close(channels[MASK] > 0, INSIDE)
    decay = -RATE * (0.010 - 0.004) * INSIDE
    torch.testing.assert_close(channels[DECAYS[0]], decay, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(channels[R2STAR], RATE / 50 * INSIDE, rtol=1e-3, atol=1e-4)
    away = (CHI_MAP - CHI_MAP[INSIDE].median()) / 0.1
    torch.testing.assert_close(channels[CHI], away * INSIDE, rtol=1e-4, atol=1e-5)
    made, repeats = estimator(given=given(R2star=2 * RATE))
    made(measured())
    torch.testing.assert_close(repeats.shown[0][R2STAR], RATE / 25 * INSIDE)


def test_echoes_of_any_order_make_the_same_image() -> None:
    order = [3, 0, 7, 1, 2, 6, 5, 4]
    other = measured(
        signal=signal()[..., order],
        protocol=protocol_from_values(echo_time=[TIMES[one] for one in order], field_strength=3.0),
    )
    made, _ = estimator()
    torch.testing.assert_close(made(other).values, made(measured()).values, equal_nan=True)


def test_draws_and_progress_are_handed_on() -> None:
    made, _ = estimator(Repeats(n_draws=2), given=given())
    told: list[tuple[int, int]] = []
    maps = made(measured(), lambda done, total: told.append((done, total)))
    assert maps.draws is not None and maps.draws.shape == (2, *SHAPE, 1)
    assert bool(maps.draws[:, ~INSIDE].isnan().all())
    for number, draw in enumerate(maps.draws, start=1):
        torch.testing.assert_close(draw[INSIDE], maps.values[INSIDE] + 0.01 * number)
    assert told[-1] == (1, 1)


@pytest.mark.parametrize("field_strength", [1.5, 2.7, 7.0])
def test_another_field_is_refused(field_strength: float) -> None:
    made, repeats = estimator()
    with pytest.raises(
        ProtocolError, match=rf"echoes at {field_strength:g} T \(the network was trained at 3 T\)"
    ) as refused:
        made(measured(field_strength))
    assert "--any-scan" in str(refused.value.remedy) and not repeats.shown


@pytest.mark.parametrize("field_strength", [2.89, 3.2, None])
def test_what_is_called_3_t_is_taken(field_strength: float | None) -> None:
    estimator()[0].accept(measured(field_strength))


def test_what_is_no_volume_of_echoes_is_refused() -> None:
    made, _ = estimator()
    for other in (
        measured(affine=None),
        measured(signal=signal()[:, :, 5], mask=None),
    ):
        with pytest.raises(ProtocolError, match="a volume with three axes and an affine are needed"):
            made(other)
    with pytest.raises(ProtocolError, match="a T1w image needs echo_time"):
        made(measured(protocol=protocol_from_values(inversion_time=TIMES)))
    with pytest.raises(ProtocolError, match="do not show the decay"):
        near = protocol_from_values(echo_time=[0.004, 0.006], field_strength=3.0)
        estimator(given=given())[0](measured(signal=signal()[..., :2], protocol=near))


def test_without_phase_susceptibility_is_not_told() -> None:
    made, repeats = estimator()
    maps = made(measured())
    assert repeats.told == [Conditions(r2star=True, chi=False)]
    assert dict(maps.notes) == {"told_r2star": 1, "told_chi": 0}
    assert not repeats.shown[0][CHI].any()
    prepared = made.prepare(measured(), made.fit)
    assert prepared.chi is None
    assert made.remarks(prepared) == ("no phase: the image is synthesised without susceptibility",)
    unasked = replace(made, conditions=Conditions(chi=False))
    assert unasked.remarks(prepared) == ()


@pytest.mark.parametrize(
    "wanted", [EVERYTHING, Conditions(r2star=False), Conditions(chi=False), Conditions(False, False)]
)
def test_a_network_is_told_what_was_asked_for(wanted: Conditions) -> None:
    made, repeats = estimator(given=given(), conditions=wanted)
    maps = made(measured())
    assert repeats.told == [wanted]
    assert dict(maps.notes) == {"told_r2star": int(wanted.r2star), "told_chi": int(wanted.chi)}
    assert made.remarks(made.prepare(measured(), None)) == ()


def test_phase_is_left_alone_where_susceptibility_is_not_wanted() -> None:
    made, repeats = estimator(conditions=Conditions(chi=False))
    maps = made(measured(phase=True))
    assert made.prepare(measured(phase=True), None).chi is None
    assert repeats.told == [Conditions(chi=False)] and maps.notes["told_chi"] == 0


def limits(told: Conditions = EVERYTHING) -> set[tuple[int, ...]]:
    """Return where a channel hits its end: too bright, too fast a decay, R2* and χ too far off."""
    rate = RATE.clone()
    rate[FAST] = 320.0  # 24 ms · 320 1/s = 7.7
    volumes = signal(rate)
    volumes[BRIGHT] *= 30.0
    r2star, chi = RATE.clone(), CHI_MAP.clone()
    r2star[NAMELESS], chi[MAGNETIC] = 200.0, -0.5
    made, _ = estimator(given=given(R2star=r2star, Chi=chi), conditions=told)
    maps = made(measured(signal=volumes))
    assert set(maps.status.unique().tolist()) == {VoxelStatus.OK, VoxelStatus.MASKED, VoxelStatus.AT_LIMIT}
    at_limit = maps.status == VoxelStatus.AT_LIMIT
    assert bool(maps.values[at_limit].isfinite().all())  # they keep their value
    return {tuple(place) for place in at_limit.nonzero().tolist()}


def test_voxels_beyond_what_a_network_is_shown_are_at_the_limit() -> None:
    assert limits() == {BRIGHT, FAST, MAGNETIC, NAMELESS}
    assert limits(Conditions(r2star=False)) == {BRIGHT, FAST, MAGNETIC}
    assert limits(Conditions(chi=False)) == {BRIGHT, FAST, NAMELESS}
    assert limits(Conditions(False, False)) == {BRIGHT, FAST}


def remarks(
    voxel_mm: tuple[float, float, float], trained: tuple[float, float] = (1.0, 1.5)
) -> tuple[str, ...]:
    maps = EchoMaps(
        magnitude=signal(),
        echo_time=torch.tensor(TIMES),
        mask=INSIDE,
        r2star=RATE,
        chi=CHI_MAP,
        voxel_mm=voxel_mm,
        notes=("the last echo is dark",),
    )
    return estimator(voxel_mm=trained)[0].remarks(maps)


def test_voxels_of_another_size_are_remarked() -> None:
    """Up to three tenths beyond the sizes of the training nothing is said."""
    for size in ((1.0, 1.2, 1.5), (0.71, 1.9, 1.0)):
        assert remarks(size) == ("the last echo is dark",)
    note, told = remarks((0.65, 1.0, 1.0))
    assert note == "the last echo is dark"
    assert told == (
        "voxels of 0.65 x 1 x 1 mm; the network was trained with 1 to 1.5 mm, and other sizes reduce the "
        "image quality"
    )
    assert remarks((1.0, 1.0, 2.0))[1].startswith("voxels of 1 x 1 x 2 mm")
    assert len(remarks((1.0, 1.0, 2.0), (1.0, 2.0))) == 1


def test_other_maps_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no conditions: B1, T1\. Give R2star or Chi"):
        estimator(given={"T1": RATE, "Chi": CHI_MAP, "B1": RATE})
