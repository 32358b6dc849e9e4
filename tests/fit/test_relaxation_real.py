"""Three echoes of a real brain: a crop of 51 x 51 x 41 voxels that ROMEO.jl is tested with."""

from pathlib import Path

import pytest
import torch
from scipy import ndimage

from unweight.bids.read import read_complex
from unweight.bids.series.overrides import ProtocolOverrides
from unweight.bids.series.phase import PhaseScaling
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.fit.relaxation import RelaxationFit
from unweight.fit.susceptibility import SusceptibilityFit
from unweight.susceptibility.geometry import GYROMAGNETIC_RATIO

DATA = Path(__file__).parents[3] / "shared" / "data" / "mgre_romeo"
TIMES = (0.004, 0.008, 0.012)
FIELD = 3.0  # nothing tells it; susceptibility is in proportion to 1/field


@pytest.fixture(scope="module")
def crop() -> Acquisition:
    if not DATA.is_dir():
        pytest.skip("shared/data/mgre_romeo is not here")
    given = ProtocolOverrides(echo_time=TIMES, field_strength=FIELD, phase=PhaseScaling(whole_range=True))
    return read_complex([DATA / "Mag.nii"], [DATA / "Phase.nii"], given).acquisition


def test_r2star_is_that_of_a_brain(crop: Acquisition) -> None:
    magnitude = Acquisition(
        signal=crop.signal.abs(), protocol=crop.protocol, kind=SignalKind.MAGNITUDE, affine=crop.affine
    )
    maps = RelaxationFit()(magnitude)
    assert float(maps.value("R2star")[maps.usable].median()) == pytest.approx(33.0, abs=1.0)


def test_field_is_continuous_and_as_published(crop: Acquisition) -> None:
    first = crop.signal[..., 0].abs()
    lit = ndimage.binary_opening((first > 0.15 * first.quantile(0.95)).numpy())
    mask = torch.from_numpy(ndimage.binary_fill_holes(lit))
    masked = Acquisition(
        signal=crop.signal,
        protocol=crop.protocol,
        kind=SignalKind.COMPLEX,
        affine=crop.affine,
        mask=mask,
    )
    made = SusceptibilityFit().reconstruct(masked)
    hertz = made.total * GYROMAGNETIC_RATIO * FIELD
    seen = hertz[~hertz.isnan()].sort().values
    low, high = (float(seen[int(share * len(seen))]) for share in (0.05, 0.95))
    # -86 to 49 Hz in the README of the data; a mask of another edge moves the ends by a hertz.
    assert low == pytest.approx(-86.0, abs=2.0) and high == pytest.approx(49.0, abs=2.0)
    # A turn between echoes 4 ms apart is 250 Hz: no two neighbours are a turn apart.
    for axis in range(3):
        step = hertz.diff(dim=axis)
        assert float(step[~step.isnan()].abs().max()) < 125.0
    assert float(made.maps.value("Chi")[made.maps.usable].std()) < 0.2
