"""How long susceptibility and R2* take, against a matrix product of the same run, and how much memory.

python benchmarks/qsm_speed.py [REPEATS]

The head is an ellipsoid of 1.6 litres in 128 x 160 x 128 voxels of 1.5 mm with eight echoes: magnitude and
phase in, susceptibility out, finding the brain included. R2* is measured on 256 x 256 x 64 voxels. With
qmrpy installed its least-squares fit of R2* is measured on a few voxels beside it.
"""

import importlib
import importlib.util
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.protocol import protocol_from_values
from unweight.fit.log_linear import LogLinear
from unweight.fit.nonlinear_decay import NonlinearDecay
from unweight.fit.relaxation import RelaxationFit
from unweight.fit.susceptibility import SusceptibilityFit
from unweight.prepare.echo_mask import find_brain_in_echoes
from unweight.susceptibility.dipole import field_from_susceptibility
from unweight.susceptibility.geometry import GYROMAGNETIC_RATIO

SHAPE, VOXEL_MM = (128, 160, 128), (1.5, 1.5, 1.5)
RADII_MM = (66.0, 84.0, 62.0)
TIMES = [0.004 * echo for echo in range(1, 9)]
PRODUCT = 2048
FEW = 2000


def head() -> Acquisition:
    generator = torch.Generator().manual_seed(0)
    axes = [(torch.arange(n) - n / 2) * size for n, size in zip(SHAPE, VOXEL_MM, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    level = (x / RADII_MM[0]) ** 2 + (y / RADII_MM[1]) ** 2 + (z / RADII_MM[2]) ** 2
    brain, skull = level < 1, (level >= 1) & (level < 1.25)
    chi = torch.where(level < 1.4, 0.0, 9.2) + torch.where(skull, -2.1, 0.0)
    chi = chi + 0.05 * brain * torch.sin(x / 7) * torch.sin(y / 9) * torch.sin(z / 8)
    field = field_from_susceptibility(chi, VOXEL_MM, (0.0, 0.0, 1.0)) * GYROMAGNETIC_RATIO * 3.0
    field = field - field[brain].mean()
    decay = torch.where(brain, 20.0, 400.0)
    amplitude = torch.where(level < 1.4, 500.0, 0.0)
    times = torch.tensor(TIMES)
    phase = 2 * torch.pi * field[..., None] * times + 0.3
    signal = torch.polar(amplitude[..., None] * torch.exp(-times * decay[..., None]), phase)
    noise = torch.randn((*signal.shape, 2), generator=generator)
    return Acquisition(
        signal=signal + 5 * torch.view_as_complex(noise),
        protocol=protocol_from_values(echo_time=TIMES, field_strength=3.0),
        kind=SignalKind.COMPLEX,
        affine=torch.diag(torch.tensor([*VOXEL_MM, 1.0])),
    )


def map_head(acquisition: Acquisition) -> None:
    brain = find_brain_in_echoes(acquisition.signal.abs(), VOXEL_MM)
    SusceptibilityFit()(replace(acquisition, mask=brain))


def echoes() -> Acquisition:
    generator = torch.Generator().manual_seed(0)
    shape = (256, 256, 64)
    rate = 5 + 45 * torch.rand(shape, generator=generator)
    signal = 500 * torch.exp(-torch.tensor(TIMES) * rate[..., None])
    signal = (signal + 5 * torch.randn(signal.shape, generator=generator)).abs()
    return Acquisition(signal=signal, protocol=protocol_from_values(echo_time=TIMES))


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def qmrpy_rate(acquisition: Acquisition) -> float | None:
    """Return the voxels a second of qmrpy's least-squares R2*, or None where it is not installed."""
    if importlib.util.find_spec("qmrpy") is None:
        return None
    peer = importlib.import_module("qmrpy.models.t2star.r2star")
    model = peer.T2StarMonoR2(te_ms=[1e3 * one for one in TIMES])
    data = acquisition.signal.reshape(-1, len(TIMES))[:FEW].numpy()
    return FEW / seconds_of(lambda: [model.fit(one) for one in data])


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    matrix = torch.rand(PRODUCT, PRODUCT)
    whole, many = head(), echoes()
    took: dict[str, list[float]] = {"product": [], "susceptibility": [], "log-linear": [], "nonlinear": []}
    for _ in range(repeats):
        took["product"].append(seconds_of(lambda: matrix @ matrix))
        took["susceptibility"].append(seconds_of(lambda: map_head(whole)))
        took["log-linear"].append(seconds_of(lambda: RelaxationFit(solver=LogLinear())(many)))
        took["nonlinear"].append(seconds_of(lambda: RelaxationFit(solver=NonlinearDecay())(many)))
    middle = {name: statistics.median(times) for name, times in took.items()}
    product, whole_head = middle["product"], middle["susceptibility"]
    print(f"{torch.get_num_threads()} threads; a product of {PRODUCT} x {PRODUCT}: {product:.3f} s")
    print(f"susceptibility of {' x '.join(map(str, SHAPE))}, 8 echoes:")
    print(f"  median {whole_head:.1f} s, {whole_head / product:.0f} products; {took['susceptibility']}")
    voxels = many.voxels.numel()
    for name in ("log-linear", "nonlinear"):
        rate, best = (voxels / one / 1e6 for one in (middle[name], min(took[name])))
        print(f"R2* {name}: {rate:.1f} million voxels/s, best {best:.1f}")
    peer = qmrpy_rate(many)
    if peer is not None:
        times_as_fast = voxels / middle["log-linear"] / peer
        print(f"qmrpy: {peer:.0f} voxels/s; log-linear is {times_as_fast:.0f} times as fast")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GiB, images of all measurements included")


if __name__ == "__main__":
    main()
