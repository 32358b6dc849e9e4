import pytest
import torch

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import UsageError
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.signals.parameters import PD, T1, T2
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.protocols.prior import ContrastPrior, InversionPrior, draw_contrasts, draw_inversions
from unweight.synth.protocols.standard import Scan, seven_inversions
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.stream import Sample, SampleStream, collate
from unweight.synth.tissue.prior import MixedPrior, RandomTissuePrior, TissuePrior
from unweight.synth.tissue.scenes import random_shapes


@pytest.fixture(scope="module")
def head() -> Anatomy:
    return procedural_head(
        torch.Generator().manual_seed(1),
        shape=(260, 300, 8),
        voxel_mm=(0.5, 0.5, 0.5),
        centre_mm=(0, -16, 15),
    )


def seven(_: torch.Generator) -> tuple[Scan, ...]:
    return (seven_inversions(),)


def stream(head: Anatomy, **settings: object) -> SampleStream:
    return SampleStream(anatomies=(head,), prior=TissuePrior(), draw_scans=seven, **settings)  # type: ignore[arg-type]


def same(one: Sample, other: Sample) -> bool:
    pairs = ((one.tensors()[name], other.tensors()[name]) for name in one.tensors())
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs)


def test_shapes_and_ranges(head: Anatomy) -> None:
    sample = stream(head)[0]
    assert sample.signal.shape == (64, 64, 1, 7)
    assert sample.truth.shape == (64, 64, 1, 3)
    assert sample.noise_sd.shape == (7,)
    assert float(sample.signal.min()) >= 0
    wet = ~torch.isnan(sample.truth[..., 0])
    assert float(wet.double().mean()) > 0.5
    assert float(sample.truth[wet][:, 0].min()) > 0.1
    assert float(sample.truth[wet][:, 0].max()) < 6.0
    assert bool((sample.purity[~wet] == 0).all())


def test_sample_depends_on_seed_and_index_alone(head: Anatomy) -> None:
    forwards = [stream(head)[index] for index in (0, 1, 2)]
    backwards = [stream(head)[index] for index in (2, 1, 0)][::-1]
    assert all(same(one, other) for one, other in zip(forwards, backwards, strict=True))
    assert not same(forwards[0], forwards[1])
    assert not same(forwards[0], stream(head, seed=1)[0])


def test_workers_give_the_same_samples(head: Anatomy) -> None:
    made = stream(head, length=4)
    loader = torch.utils.data.DataLoader(
        made, batch_size=2, num_workers=1, multiprocessing_context="fork", collate_fn=collate
    )
    for number, batch in enumerate(loader):
        here = collate([made[2 * number], made[2 * number + 1]])
        assert all(torch.equal(batch[name].nan_to_num(), here[name].nan_to_num()) for name in here)


def test_noise_is_what_the_sample_says(head: Anatomy) -> None:
    """The fit knows nothing of the simulator and finds its noise and its T1."""
    still = MeasurementPrior(snr=(25.0, 25.0), moving=0.0, rounding=0.0)
    sample = stream(head, measurement=still)[3]
    acquisition = Acquisition(signal=sample.signal, protocol=sample.scans[0].protocol)
    maps = InversionRecoveryFit(complete=None)(acquisition)
    assert maps.noise_sd == pytest.approx(float(sample.noise_sd[0]), rel=0.15)
    pure = (sample.purity > 0.999) & maps.usable
    ratio = maps.value("T1")[pure] / sample.truth[pure][:, 0]
    assert float((ratio.median() - 1).abs()) < 0.06  # white matter's short component pulls it down
    gain = maps.value("PD")[pure] / sample.truth[pure][:, 1]
    assert float((gain.median() - 1).abs()) < 0.08


def test_random_protocols_and_shuffled_tissue(head: Anatomy) -> None:
    made = SampleStream(
        anatomies=(head,),
        prior=MixedPrior(first=TissuePrior(), second=RandomTissuePrior(), share=0.5),
        draw_scans=lambda generator: (draw_inversions(InversionPrior(), generator),),
        shapes=(lambda shape, generator: random_shapes(shape, (0.5, 0.5, 0.5), generator), 0.5),
    )
    samples = [made[index] for index in range(12)]
    volumes = {sample.signal.shape[-1] for sample in samples}
    batch = collate(samples)
    assert batch["signal"].shape == (12, 64, 64, 1, max(volumes))
    assert batch["inversion_time"].shape == (12, max(volumes))
    assert len(volumes) > 3
    assert volumes <= set(range(4, 13))


def test_routine_contrasts(head: Anatomy) -> None:
    made = SampleStream(
        anatomies=(head,),
        prior=TissuePrior(),
        draw_scans=lambda generator: draw_contrasts(ContrastPrior(), generator),
        specs=(T1, T2, PD),
    )
    sample = made[0]
    assert [scan.name for scan in sample.scans] == ["T1w", "T2w", "FLAIR"]
    assert sample.signal.shape[-1] == 3
    assert torch.isfinite(sample.signal).all()


def test_signed_streams(head: Anatomy) -> None:
    signed = MeasurementPrior(kind=SignalKind.SIGNED)
    assert float(stream(head, measurement=signed)[0].signal.min()) < 0


@pytest.mark.cuda
def test_gpu_gives_the_same_samples(head: Anatomy) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    here, there = stream(head)[0], stream(head, device=torch.device("cuda"))[0]
    assert there.signal.is_cuda
    torch.testing.assert_close(there.signal.cpu(), here.signal, rtol=1e-3, atol=1.0)
    torch.testing.assert_close(there.truth.cpu(), here.truth, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_messages(head: Anatomy) -> None:
    with pytest.raises(UsageError, match="a stream without anatomies"):
        SampleStream(anatomies=(), prior=TissuePrior(), draw_scans=seven)
    with pytest.raises(IndexError):
        stream(head, length=2)[2]
