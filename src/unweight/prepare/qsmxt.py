"""Background removal and dipole inversion by an installed `qsmxt`, in place of our own.

The program is not part of this package: it is called where it is found on the path, with NIfTI files in a
temporary folder. It takes the direction of the field as three numbers; images are mirrored so that none is
negative, which its command line could take for an option.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.bids.nifti.image import image_bytes
from unweight.bids.nifti.volume import open_volume
from unweight.core.errors import InputError, UsageError
from unweight.susceptibility.background import LocalField
from unweight.susceptibility.geometry import FieldGeometry

PROGRAM = "qsmxt"
LAST_LINES = 3
Volume = Float[Tensor, "x y z"]


def qsmxt_background(
    field: Volume,
    mask: Bool[Tensor, "x y z"],
    geometry: FieldGeometry,
    weight: Volume | None = None,
    *,
    method: str = "vsharp",
) -> LocalField:
    """Return the local field that `qsmxt bgremove` finds.

    Raises:
        UsageError: There is no such program.
        InputError: It fails, or gives something else than an image on the same grid.
    """
    local, kept = _called("bgremove", method, (field, mask), geometry, ("local", "kept"))
    inside = kept > 0
    return LocalField(torch.where(inside, local, torch.zeros_like(local)), inside)


def qsmxt_inversion(
    field: Volume,
    mask: Bool[Tensor, "x y z"],
    geometry: FieldGeometry,
    weight: Volume | None = None,
    *,
    method: str = "rts",
) -> Volume:
    """Return the susceptibility that `qsmxt invert` finds.

    Raises:
        UsageError: There is no such program.
        InputError: It fails, or gives something else than an image on the same grid.
    """
    (chi,) = _called("invert", method, (field, mask), geometry, ("chi",))
    return torch.where(mask, chi, torch.zeros_like(chi))


def _called(
    command: str,
    method: str,
    images: tuple[Volume, Bool[Tensor, "x y z"]],
    geometry: FieldGeometry,
    wanted: tuple[str, ...],
) -> list[Volume]:
    """Call the program, and return the images it writes."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise UsageError(
            f"no program called {PROGRAM} is on the path", remedy="Install it, or leave out --qsmxt."
        )
    mirrored = [axis for axis, part in enumerate(geometry.direction) if part < 0]
    affine = torch.diag(torch.tensor([*geometry.voxel_mm, 1.0], dtype=torch.float64))
    field, mask = images
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"{item}.nii" for item in ("field", "mask", *wanted)]
        given = (torch.where(mask, field, torch.zeros_like(field)), mask.to(torch.uint8))
        for path, values in zip(paths, given, strict=False):
            path.with_suffix(".nii.gz").write_bytes(image_bytes(values.flip(mirrored).cpu(), affine))
        names = [str(path.with_suffix(".nii.gz")) for path in paths[:2]] + [str(item) for item in paths[2:]]
        words = [program, command, method, names[0], "--mask", names[1], "--output", names[2]]
        words += ["--output-mask", names[3]] if len(wanted) > 1 else []
        words += ["--b0-direction", *(f"{abs(part):.6f}" for part in geometry.direction)]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            text = " ".join(ended.stderr.strip().splitlines()[-LAST_LINES:])
            raise InputError(
                f"{PROGRAM} {command} {method} failed (exit code {ended.returncode}): {text}",
                remedy="Check its installation, or leave out --qsmxt.",
            )
        return [_read(path, mask).flip(mirrored).to(field) for path in paths[2:]]


def _read(path: Path, mask: Bool[Tensor, "x y z"]) -> Volume:
    volume = open_volume(path)
    if volume.data.shape != mask.shape:
        raise InputError(f"{PROGRAM} returned an image of another size", remedy="Leave out --qsmxt.")
    return volume.data
