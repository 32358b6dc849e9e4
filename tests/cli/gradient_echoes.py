"""A small head of known susceptibility, measured by a multi-echo gradient echo, and its files."""

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.bids.files import nifti_bytes
from tests.susceptibility.scenes import ball, field_of_ball, places
from unweight.bids.raw import write_raw
from unweight.cli.main import main
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.protocol import protocol_from_values
from unweight.susceptibility.dipole import field_from_susceptibility
from unweight.susceptibility.geometry import GYROMAGNETIC_RATIO, FieldGeometry, Triple

SHAPE = (40, 44, 36)
MM = 4.0
VOXEL = (MM, MM, MM)
TIMES = (0.004, 0.010, 0.016, 0.022)
TESLA = 3.0
AXIAL = np.array([[MM, 0, 0, -80], [0, MM, 0, -88], [0, 0, MM, -72], [0, 0, 0, 1.0]])
UP = (0.0, 0.0, 1.0)
AIR = {(0.0, 70.0, -40.0): 11.0, (-72.0, 0.0, -30.0): 10.0, (72.0, -4.0, -30.0): 10.0}  # balls [mm]
# Straight to the answer; what is compared here happens before.
QUICK = ("--inversion", "tkd", "--no-figures", "--quiet")
WORDS = ("--no-figures", "--quiet")
Array = NDArray[Any]


class Head(NamedTuple):
    """What is true.

    Attributes:
        chi: Susceptibility of what lies in the brain, 0 outside [ppm].
        r2star: [1/s].
        brain: Where there is signal.
        iron: Where there is much iron, which decays fast.
    """

    chi: Tensor
    r2star: Tensor
    brain: Tensor
    iron: Tensor


@cache
def head() -> Head:
    """Return a brain with two iron-rich nuclei, a calcification and a ventricle."""
    brain = _ellipsoid((58.0, 66.0, 52.0))
    iron = ball(SHAPE, VOXEL, (-22.0, 6.0, 0.0), 13.0) + ball(SHAPE, VOXEL, (22.0, 6.0, 0.0), 13.0)
    stone = ball(SHAPE, VOXEL, (10.0, -36.0, 10.0), 10.0)
    ventricle = ball(SHAPE, VOXEL, (0.0, -4.0, 4.0), 13.0) * (1 - iron.clamp(max=1))
    chi = 0.18 * iron - 0.12 * stone + 0.03 * ventricle
    r2star = 18 + 32 * iron + 4 * stone - 16 * ventricle
    return Head(chi * brain, r2star, brain, iron > 0.9)


@cache
def echoes(direction: Triple = UP, times: tuple[float, ...] = TIMES) -> Tensor:
    """Return the noiseless echoes; there is signal in the brain alone, and air makes a field in it.

    The field of the air is in closed form: on a grid, its sharp edges ring where the direction is oblique.
    """
    truth = head()
    field = field_from_susceptibility(truth.chi, VOXEL, direction, background=0.0) + 0.05
    for centre, radius in AIR.items():
        geometry = FieldGeometry(voxel_mm=VOXEL, direction=direction)
        field = field + 9.0 * field_of_ball(SHAPE, geometry, centre, radius)
    x, y, z = places(SHAPE, VOXEL)
    magnitude = truth.brain * (900 + 1.5 * x - 0.8 * z)
    offset = 0.4 + 0.006 * x - 0.005 * y
    rate = 2 * math.pi * GYROMAGNETIC_RATIO * TESLA * field
    time = torch.tensor(times, dtype=torch.float64)
    decayed = magnitude[..., None] * torch.exp(-truth.r2star[..., None] * time)
    return torch.polar(decayed, offset[..., None] + rate[..., None] * time).to(torch.complex64)


def _ellipsoid(radii: Triple) -> Tensor:
    x, y, z = places(SHAPE, VOXEL)
    a, b, c = radii
    return (x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2 < 1


def write_tree(
    root: Path,
    signal: Tensor,
    entities: Mapping[str, str],
    times: Sequence[float] = TIMES,
    affine: Array = AXIAL,
) -> tuple[Path, ...]:
    """Write the echoes as raw BIDS images."""
    kind = SignalKind.COMPLEX if signal.is_complex() else SignalKind.MAGNITUDE
    measured = Acquisition(
        signal=signal,
        protocol=protocol_from_values(
            echo_time=list(times),
            repetition_time=[0.036] * len(times),
            flip_angle=[math.radians(15.0)] * len(times),
            field_strength=TESLA,
        ),
        kind=kind,
        affine=torch.from_numpy(affine),
    )
    return write_raw(measured, root, entities, suffix="MEGRE")


def write_mask(path: Path, mask: Tensor | None = None, affine: Array = AXIAL) -> str:
    """Write the brain, or another mask, and return its path as a word."""
    inside = head().brain if mask is None else mask
    return str(store(path, inside.numpy().astype(np.uint8), affine))


def store(
    path: Path, values: Array, affine: Array = AXIAL, slope: float = 1.0, intercept: float = 0.0
) -> Path:
    """Write numbers as they are, with a slope and an intercept that readers are to apply."""
    content = nifti_bytes(values, affine)
    header = nib.Nifti1Header(content[:348], check=False)
    header["scl_slope"], header["scl_inter"] = slope, intercept
    whole = header.binaryblock + content[348:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(whole, 1, mtime=0) if path.suffix == ".gz" else whole)
    return path


def edit_sidecars(root: Path, pattern: str, fields: Mapping[str, object]) -> None:
    """Add fields to the sidecars that match."""
    found = sorted(root.rglob(pattern))
    assert found
    for path in found:
        path.write_text(json.dumps(json.loads(path.read_text()) | dict(fields)))


def run(*words: object) -> int:
    """Call `unweight`."""
    return main([str(word) for word in words])


def image(out: Path, ending: str, stem: str = "sub-01") -> Array:
    """Return the numbers of a derivative."""
    path = next(out.rglob(f"{stem}_{ending}.nii.gz"))
    return np.asarray(nib.load(path).dataobj)


def sidecar(out: Path, ending: str = "Chimap", stem: str = "sub-01") -> dict[str, Any]:
    """Return the sidecar of a derivative."""
    content: dict[str, Any] = json.loads(next(out.rglob(f"{stem}_{ending}.json")).read_text())
    return content


def apart(one: Array, other: Array) -> float:
    """Return the largest difference; both have values in the same places, and somewhere."""
    assert np.array_equal(np.isnan(one), np.isnan(other))
    assert np.isfinite(one).any()
    return float(np.nanmax(np.abs(one - other)))


def texts(out: Path) -> dict[str, str]:
    """Return all text of a folder by the path of its file."""
    return {
        str(path): path.read_text()
        for path in out.rglob("*")
        if path.is_file() and path.suffix not in {".gz", ".png"}
    }


def assert_same_bytes(one: Path, other: Path) -> None:
    """Check that two folders hold the same files."""
    names = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
    assert names == {path.relative_to(other) for path in other.rglob("*") if path.is_file()}
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


class Files(NamedTuple):
    """Four-dimensional files of the head, its mask, and the map made from them."""

    folder: Path
    magnitude: Path
    mask: str
    chi: Array


def phase() -> Array:
    """The phase of the echoes [rad]; a voxel of air has each end of the turn."""
    angle = echoes().angle().numpy()
    angle[0, 0, 0], angle[0, 0, 1] = np.float32(-np.pi), np.float32(np.pi)
    return angle


def map_files(files: Files, out: Path, stored: Path, *more: object) -> Array:
    assert call(files, out, stored, *more) == 0
    return image(out, "Chimap")


def call(files: Files, out: Path, stored: Path, *more: object) -> int:
    words = ("--mag", files.magnitude, "--phase", stored, "--te", *TIMES, "--mask", files.mask, "-o", out)
    return run("qsm", *words, "--field", 3, *QUICK, *more)


def write_files(folder: Path) -> Files:
    """Write the head as four-dimensional files, and map it."""
    magnitude = store(folder / "mag.nii.gz", echoes().abs().numpy())
    unmapped = Files(folder, magnitude, write_mask(folder / "mask.nii.gz"), np.zeros(0))
    stored = store(folder / "rad.nii.gz", phase())
    return unmapped._replace(chi=map_files(unmapped, folder / "plain", stored))


def remarks(out: Path) -> str:
    return " ".join(sidecar(out)["unweight"]["Remarks"])
