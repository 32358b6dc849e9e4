import math
from dataclasses import replace

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.core.weighting import Readout
from unweight.signals.weighted import weighted_signal
from unweight.synth.anatomy.labels import Anatomy, centred_affine
from unweight.synth.protocols.standard import SPIN_ECHO, Scan, mprage, routine_contrasts, seven_inversions
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.simulate_weighted import ScannerPrior, SimulatedImages, examine, weighting_of
from unweight.synth.tissue.materials import INDEX
from unweight.synth.tissue.prior import TissueDraw, TissuePrior

FACTOR, MM = (2, 2, 4), (0.5, 0.5, 0.5)
PARTS = ("grey_matter", "white_matter", "csf")
QUIET = ScannerPrior(measurement=MeasurementPrior(snr=(1e6, 1e6), moving=0.0, rounding=0.0), beside=0.0)


def anatomy(*materials: str, size: int = 32) -> Anatomy:
    """Return stripes of materials, with skull around them."""
    labels = torch.full((size, size, 4), INDEX["skull"], dtype=torch.uint8)
    width = (size - 8) // len(materials)
    for place, name in enumerate(materials):
        labels[4:-4, 4 + place * width : 4 + (place + 1) * width] = INDEX[name]
    affine = centred_affine((size, size, 4), MM).float()
    return Anatomy(labels=labels, voxel_mm=MM, subject="stripes", affine=affine)


def tissue(csf_pd: float = 0.9) -> TissueDraw:
    """Return tissue without texture, with a CSF whose PD is not 1."""
    drawn = TissuePrior(short=None).draw(seeded_generator(0), 3.0)
    values = drawn.values.clone()
    values[INDEX["csf"], 2] = csf_pd
    return replace(drawn, values=values, texture_sd=(0.0, 0.0, 0.0))


def spin_echo(name: str, tr: float, te: float) -> Scan:
    """Return a spin echo of one echo: no field of the scanner but the receive sensitivity is in it."""
    protocol = protocol_from_values(repetition_time=[tr], echo_time=[te], field_strength=3.0)
    return Scan(name=name, model=SPIN_ECHO, protocol=protocol)


SCANS = (spin_echo("T1w", 0.6, 0.012), spin_echo("T2w", 4.0, 0.1))


def examined(
    scanner: ScannerPrior = QUIET, seed: int = 1, scans: tuple[Scan, ...] = SCANS
) -> SimulatedImages:
    return examine(anatomy(*PARTS), FACTOR, tissue(), scans, seeded_generator(seed), scanner)


def pure(of: SimulatedImages, name: str) -> torch.Tensor:
    return of.share(name) > 0.999


def test_without_noise_an_image_is_the_signal_of_the_truth_times_gain_and_receive() -> None:
    """S = PD·[1 − 2·E(TR − TE/2) + E(TR)]·exp(−TE/T2), and one number for each image."""
    made = examined()
    t1, t2, pd = made.truth.unbind(-1)
    ratios = []
    for image, (tr, te) in zip(made.examination.images, ((0.6, 0.012), (4.0, 0.1)), strict=True):
        regained = 1 - 2 * torch.exp(-(tr - te / 2) / t1) + torch.exp(-tr / t1)
        said = pd * regained * torch.exp(-te / t2) * made.scene.fields["receive"]
        here = pure(made, "grey_matter") | pure(made, "white_matter") | pure(made, "csf")
        ratio = (image.signal / said)[here]
        assert float(ratio.std() / ratio.mean()) < 1e-3
        ratios.append(float(ratio.mean()))
    assert abs(math.log(ratios[0] / ratios[1])) > 0.05


def test_all_readouts_follow_the_truth_as_the_fields_of_the_scanner_allow() -> None:
    """Where B1 and the inversion are not nominal the images are a few per cent off, no more."""
    scans = (mprage(), *routine_contrasts()[1:])
    made = examined(scans=tuple(replace(scan, train=None) for scan in scans))  # for a train blurs
    white = pure(made, "white_matter")
    for image, scan in zip(made.examination.images, scans, strict=True):
        said = weighted_signal(*made.truth.unbind(-1), weighting_of(scan).row().float())
        ratio = image.signal / (said * made.scene.fields["receive"])
        relative = ratio[pure(made, "grey_matter")].mean() / ratio[white].mean()
        assert float(relative) == pytest.approx(1.0, abs=0.06)


def test_truth_is_that_of_the_tissue_relative_to_csf_and_free_of_the_receive_sensitivity() -> None:
    made, drawn = examined(), tissue()
    assert float(made.scene.fields["receive"].std()) > 0.001
    for name in PARTS:
        found = made.truth[pure(made, name)]
        expected = torch.tensor([drawn.value(name, each) for each in ("T1", "T2", "PD")])
        expected[2] /= 0.9
        torch.testing.assert_close(found, expected.expand_as(found), rtol=1e-5, atol=0.0)
    assert made.truth[pure(made, "csf")][:, 2].mean() == pytest.approx(1.0)


def test_the_mask_is_where_half_is_inside() -> None:
    made = examined()
    share = made.share(*PARTS)
    assert torch.equal(made.examination.mask, share >= 0.5)
    assert 0 < int(made.examination.mask.sum()) < made.examination.mask.numel()
    assert made.examination.field_strength == 3.0
    only = examine(
        anatomy(*PARTS), FACTOR, tissue(), SCANS, seeded_generator(1), QUIET, inside=("white_matter",)
    )
    assert torch.equal(only.examination.mask, only.share("white_matter") >= 0.5)


def test_only_images_after_the_first_lie_beside_it() -> None:
    still, moved = examined(), examined(replace(QUIET, beside=1.0))
    one, two = (made.examination.images for made in (still, moved))
    assert torch.equal(one[0].signal, two[0].signal)
    assert torch.equal(still.truth.nan_to_num(), moved.truth.nan_to_num())
    step = (one[1].signal / one[1].signal.max() - two[1].signal / two[1].signal.max()).abs()
    edge = pure(still, "csf").roll(2, 1) ^ pure(still, "csf")
    assert float(step[edge].max()) > 0.02
    small = examined(replace(QUIET, beside=1.0, shift=1e-6, rotation=0.0)).examination.images[1].signal
    torch.testing.assert_close(small / small.max(), one[1].signal / one[1].signal.max(), atol=1e-3, rtol=0)


def test_noise_is_as_drawn() -> None:
    """Rounding aside, the 95th percentile of the image before noise is SNR times the noise."""
    prior = MeasurementPrior(snr=(30.0, 30.0), moving=0.0, rounding=0.0)
    loud, quiet = examined(replace(QUIET, measurement=prior)), examined()
    for one, other in zip(loud.examination.images, quiet.examination.images, strict=True):
        here = pure(quiet, "white_matter")
        left = one.signal / one.signal[here].mean() - other.signal / other.signal[here].mean()
        bright = other.signal.flatten().kthvalue(int(0.95 * other.signal.numel())).values
        sd = bright / other.signal[here].mean() / 30
        n = int(here.sum())
        assert float(left[here].std()) == pytest.approx(float(sd), rel=4 / (2 * n) ** 0.5)


def test_same_seed_same_examination() -> None:
    one, same, other = (examined(ScannerPrior(), seed) for seed in (3, 3, 4))
    for a, b, c in zip(*(made.examination.images for made in (one, same, other)), strict=True):
        assert torch.equal(a.signal, b.signal)
        assert not torch.equal(a.signal, c.signal)
        assert a.signal.dtype == torch.float32 and a.signal.shape == (16, 16, 1)


def test_several_slices_are_measured_slice_by_slice() -> None:
    thick = anatomy(*PARTS)
    made = examine(thick, (2, 2, 2), tissue(), SCANS, seeded_generator(1), QUIET)
    assert made.truth.shape == (16, 16, 2, 3)
    assert {tuple(one.signal.shape) for one in made.examination.images} == {(16, 16, 2)}


def test_weighting_of_scans() -> None:
    t1w, t2w, fluid = (weighting_of(scan) for scan in routine_contrasts())
    assert (t1w.readout, t2w.readout) == (Readout.SPIN_ECHO, Readout.TURBO_SPIN_ECHO)
    assert fluid.readout is Readout.TURBO_SPIN_ECHO and fluid.inverts
    assert weighting_of(mprage()).readout is Readout.MPRAGE


def test_messages() -> None:
    with pytest.raises(UsageError, match=r"IRT1 has 7 volumes. Give one image"):
        weighting_of(seven_inversions())
    with pytest.raises(UsageError, match=r"no water in this slab of stripes\. Cut it elsewhere"):
        examine(anatomy("air"), FACTOR, tissue(), SCANS, seeded_generator(0), QUIET)
