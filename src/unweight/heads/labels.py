"""Any label image as an anatomy, in standard orientation.

Labels turned so that x runs to the right, y to the front and z up.

Anybody's label image as an anatomy: a NIfTI file of whole numbers, and a JSON file that names them.

{"0": "background", "2": "white_matter", "3": "grey_matter", "10": "thalamus", ...}
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from unweight.bids.nifti.canonical import turn_of
from unweight.bids.nifti.volume import open_volume
from unweight.core.errors import InputError
from unweight.files.text_files import parse_json, read_content
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.tissue.materials import INDEX, MATERIALS


def upright_anatomy(
    labels: NDArray[np.uint8], affine: NDArray[np.float64], *, subject: str, path: Path
) -> Anatomy:
    """Return labels as an anatomy; whole axes are swapped and reversed, nothing is interpolated.

    Args:
        labels: In the order of `MATERIALS`.
        affine: Voxel index to millimetres (RAS+).
        subject: Whose head it is.
        path: The file, for messages.

    Raises:
        InputError: Two axes run along the same direction.
    """
    turn = turn_of(torch.tensor(affine), labels.shape, path)
    x, y, z = turn.affine[:3, :3].norm(dim=0).tolist()
    return Anatomy(
        labels=turn.apply(torch.from_numpy(np.require(labels, requirements=["C", "W"]))),
        voxel_mm=(x, y, z),
        subject=subject,
        affine=turn.affine,
    )


N_NAMED = 8
LARGEST_JSON = 2**20


def read_labels(path: Path, names: Path, *, subject: str) -> Anatomy:
    """Read a label image, axes to the right, front and top.

    Args:
        path: A NIfTI file of whole numbers.
        names: A JSON file that gives the material of each number.
        subject: Whose head it is.

    Raises:
        InputError: A file is unusable, a number has no name, or a name is no material.
    """
    table = read_label_names(names)
    volume = open_volume(path)
    if volume.data.ndim != 3:
        raise InputError("is a series; labels are one volume", path=path)
    labels = _translated(volume.data, table, path)
    return upright_anatomy(labels.numpy(), volume.grid.affine.numpy(), subject=subject, path=path)


def read_label_names(path: Path) -> dict[int, str]:
    """Read which material each label number is.

    Raises:
        InputError: The file is not such a table, or names something that is no material.
    """
    try:
        table = parse_json(read_content(path, LARGEST_JSON))
    except ValueError as error:
        raise InputError(f"is not JSON ({error})", path=path) from error
    if not isinstance(table, dict) or not table:
        raise InputError('must be a table {"label number": "material"}', path=path)
    wrong = sorted({str(name) for name in table.values() if not isinstance(name, str) or name not in INDEX})
    if wrong:
        raise InputError(
            f"contains unknown materials: {', '.join(wrong[:N_NAMED])}",
            remedy=f"Use {', '.join(MATERIALS)}.",
            path=path,
        )
    numbers = [key for key in table if not (key.isascii() and key.isdigit() and len(key) <= 9)]
    if numbers:
        raise InputError(
            f"contains keys that are not label numbers: {', '.join(numbers[:N_NAMED])}", path=path
        )
    return {int(key): name for key, name in table.items()}


def _translated(
    values: Float[Tensor, "x y z"], table: dict[int, str], path: Path
) -> UInt8[Tensor, "x y z"]:
    result = torch.unique(values)
    if not bool(torch.isfinite(result).all()) or bool((result != result.round()).any()):
        raise InputError("contains values that are not labels", remedy="Give whole numbers.", path=path)
    unnamed = [int(number) for number in result.tolist() if int(number) not in table]
    if unnamed:
        listed = ", ".join(map(str, unnamed[:N_NAMED])) + (" …" if len(unnamed) > N_NAMED else "")
        raise InputError(
            f"holds labels without a material: {listed}", remedy="Add them to the JSON file.", path=path
        )
    place = torch.searchsorted(result, values.contiguous())
    materials = torch.tensor([INDEX[table[int(number)]] for number in result.tolist()], dtype=torch.uint8)
    return materials[place]
