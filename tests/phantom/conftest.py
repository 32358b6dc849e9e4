from dataclasses import dataclass

import pytest
import torch

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.protocol import Protocol, protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.phantom.digital import DigitalPhantom, Pose, SliceGrid, digital_phantom
from unweight.phantom.facts import sphere_array
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Gaussian, Rician
from unweight.synth.simulate import simulate_phantom

SEVEN = protocol_from_values(
    inversion_time=[0.05, 0.10, 0.25, 0.50, 0.85, 1.50, 2.50],
    repetition_time=[10.0] * 7,
    field_strength=3.0,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulated:
    """A digital phantom and what a scanner made of it."""

    phantom: DigitalPhantom
    acquisition: Acquisition


def scan(
    phantom: DigitalPhantom,
    *,
    protocol: Protocol = SEVEN,
    kind: SignalKind = SignalKind.MAGNITUDE,
    snr: float = 50.0,
) -> Simulated:
    noise = Rician(sigma=1 / snr) if kind is SignalKind.MAGNITUDE else Gaussian(sigma=1 / snr)
    model = InversionRecovery(kind=kind)
    return Simulated(
        phantom=phantom,
        acquisition=simulate_phantom(phantom, model, protocol, noise, seeded_generator(1, "scan")),
    )


@pytest.fixture(scope="session")
def plate_5() -> Simulated:
    """A version 2 plate 5 at 3 T, turned by 0.4 rad and shifted."""
    grid = SliceGrid(shape=(120, 130, 1), voxel_mm=(1.7, 1.7, 5.0), n_parts=4)
    pose = Pose(rotation=0.4, shift_mm=(6.0, -9.0))
    return scan(digital_phantom(sphere_array(5, 2, 3.0), grid=grid, pose=pose))


@pytest.fixture
def noise_only() -> Acquisition:
    shape = (120, 130, 1, 7)
    drawn = Rician(sigma=1.0).draw(torch.zeros(shape, dtype=torch.float64), seeded_generator(2))
    affine = torch.diag(torch.tensor([1.7, 1.7, 5.0, 1.0], dtype=torch.float64))
    return Acquisition(signal=drawn, protocol=SEVEN, affine=affine)
