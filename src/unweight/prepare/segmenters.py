"""Brain segmentation by an installed SynthSeg or FastSurfer, in the structures of `metrics.structures`.

The programs are not part of this package: they are called where they are found on the path, with a NIfTI
file in a temporary folder, and their FreeSurfer numbers are translated.

    SynthSeg    `mri_synthseg` that knows `--keepgeom`: B. Billot et al., Med. Image Anal. 86 (2023) 102789;
                `--robust`: B. Billot et al., PNAS 120 (2023) e2216399120.
    FastSurfer  `run_fastsurfer.sh` that knows `--no_hypothal`: L. Henschel et al., NeuroImage 219 (2020)
                117012; L. Henschel, D. Kügler, M. Reuter, NeuroImage 251 (2022) 118933.

The ventral diencephalon counts as white matter, as red nucleus and substantia nigra in it do elsewhere, and
the choroid plexus as the CSF around it. FastSurfer does not label the CSF around the brain: its `csf` is
less than that of SynthSeg.
"""

import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unweight.bids.nifti.image import image_bytes
from unweight.bids.nifti.volume import open_volume
from unweight.core.errors import InputError, UsageError
from unweight.metrics.structures import LABELS

LAST_LINES = 5
N_NAMED = 8
SUBJECT = "head"
IMAGE = "image.nii.gz"
CORTEX = range(1000, 3000)
ASEG = {
    "background": (0, 30, 62, 85),
    "csf": (4, 5, 14, 15, 24, 31, 43, 44, 63, 72),
    "grey_matter": (3, 8, 17, 18, 26, 42, 47, 53, 54, 58, *CORTEX),
    "white_matter": (2, 7, 16, 28, 41, 46, 60, 77, 78, 79, *range(251, 256)),
    "caudate": (11, 50),
    "putamen": (12, 51),
    "pallidum": (13, 52),
    "thalamus": (10, 49),
}
STRUCTURE_OF = {number: name for name, numbers in ASEG.items() for number in numbers}


class Segmenter(ABC):
    """An external program that finds structures in a head. Frozen: its fields are its configuration."""

    @property
    @abstractmethod
    def program(self) -> str:
        """What it is called on the path."""

    @abstractmethod
    def call(self, folder: Path) -> tuple[list[str], Path]:
        """Return what to say to it, and where it then writes labels.

        Args:
            folder: Holds the image under the name `IMAGE`; an absolute path.
        """


@final
@dataclass(frozen=True, kw_only=True)
class SynthSeg(Segmenter):
    """SynthSeg, for any contrast. It works at 1 mm and brings the labels back to the grid of the image.

    Attributes:
        robust: Whether to use the slower variant for scans of poor quality.
        n_threads: Cores it may use.
        cpu: Whether it must leave a GPU alone.
    """

    robust: bool = False
    n_threads: int = 1
    cpu: bool = True

    def __post_init__(self) -> None:
        _check_threads(self.n_threads)

    @property
    def program(self) -> str:
        """What it is called on the path."""
        return "mri_synthseg"

    def call(self, folder: Path) -> tuple[list[str], Path]:
        """Return what to say to it, and where it then writes labels."""
        labels = folder / "labels.nii.gz"
        words = ["--i", str(folder / IMAGE), "--o", str(labels), "--keepgeom"]
        words += ["--threads", str(self.n_threads)]
        words += ["--robust"] if self.robust else []
        words += ["--cpu"] if self.cpu else []
        return words, labels


@final
@dataclass(frozen=True, kw_only=True)
class FastSurfer(Segmenter):
    """FastSurfer's whole-brain segmentation without surfaces, for T1-weighted heads.

    Its own format is MGZ. It writes NIfTI if the labels and the image on its grid are both named so.

    Attributes:
        n_threads: Cores it may use.
        cpu: Whether it must leave a GPU alone.
        as_root: Whether root may run it, which it refuses otherwise.
    """

    n_threads: int = 1
    cpu: bool = True
    as_root: bool = False

    def __post_init__(self) -> None:
        _check_threads(self.n_threads)

    @property
    def program(self) -> str:
        """What it is called on the path."""
        return "run_fastsurfer.sh"

    def call(self, folder: Path) -> tuple[list[str], Path]:
        """Return what to say to it, and where it then writes labels."""
        own = folder / "subjects" / SUBJECT / "mri"
        labels = own / "aparc.DKTatlas+aseg.deep.nii.gz"
        words = ["--t1", str(folder / IMAGE), "--sid", SUBJECT, "--sd", str(folder / "subjects")]
        words += ["--asegdkt_segfile", str(labels), "--conformed_name", str(own / "orig.nii.gz")]
        words += ["--seg_only", "--no_biasfield", "--no_cereb", "--no_hypothal"]
        words += ["--threads", str(self.n_threads)]
        words += ["--device", "cpu", "--viewagg_device", "cpu"] if self.cpu else []
        words += ["--allow_root"] if self.as_root else []
        return words, labels


def installed(segmenter: Segmenter) -> bool:
    """Whether the program is on the path."""
    return shutil.which(segmenter.program) is not None


def segment(
    segmenter: Segmenter, image: Float[Tensor, "x y z"], affine: Float[Tensor, "4 4"]
) -> UInt8[Tensor, "x y z"]:
    """Return the structure of each voxel, by place in `STRUCTURES`, on the device of the image.

    Args:
        segmenter: Which program, and its settings.
        image: A whole head.
        affine: Voxel index to millimetres (RAS+).

    Raises:
        UsageError: There is no such program.
        InputError: The image has voxels without a value, or the program fails, or gives no labels of
            FreeSurfer, or none where the image is.
    """
    program = shutil.which(segmenter.program)
    if program is None:
        raise UsageError(
            f"no program called {segmenter.program} is on the path",
            remedy="Install it and add it to PATH, or leave this segmenter out.",
        )
    n_lost = int((~torch.isfinite(image)).sum())
    if n_lost:
        raise InputError(
            f"{n_lost} voxels of the image have no value, which {segmenter.program} cannot use",
            remedy="Give a value to each, 0 outside the head.",
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        (folder / IMAGE).write_bytes(image_bytes(image, affine))
        words, labels = segmenter.call(folder)
        values = _run([program, *words], segmenter.program)
        if not labels.is_file():
            raise InputError(
                f"{segmenter.program} returned no labels: {values}", remedy="Check its installation."
            )
        volume = open_volume(labels)
        structures = _structures(volume.data, segmenter.program)
    on_grid = _on_grid(structures, volume.grid.affine, affine.detach().cpu().double(), image.shape)
    if not bool(on_grid.any()):
        raise InputError(
            f"{segmenter.program} found no brain in the image",
            remedy="Check that it is a whole head, and its orientation.",
        )
    return on_grid.to(image.device)


def _check_threads(n_threads: int) -> None:
    if n_threads < 1:
        raise UsageError(f"a program cannot use {n_threads} cores", remedy="Give 1 or more.")


def _run(words: list[str], program: str) -> str:
    """Run a program to its end, and return the last that it said."""
    ended = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    text = " ".join(line.strip() for line in ended.stdout.strip().splitlines()[-LAST_LINES:])
    if ended.returncode != 0:
        raise InputError(
            f"{program} failed (exit code {ended.returncode}): {text}",
            remedy="Check its installation, or leave this segmenter out.",
        )
    return text or "it printed no output"


def _structures(numbers: Float[Tensor, "*voxels"], program: str) -> UInt8[Tensor, "*voxels"]:
    """Translate FreeSurfer's numbers."""
    if numbers.ndim != 3:
        raise InputError(
            f"{program} wrote an image that is not 3D instead of a label image",
            remedy=f"Check the version of {program}.",
        )
    result, place = torch.unique(numbers, return_inverse=True)
    unknown = [number for number in result.tolist() if number not in STRUCTURE_OF]
    if unknown:
        listed = ", ".join(f"{number:g}" for number in unknown[:N_NAMED])
        more = " …" if len(unknown) > N_NAMED else ""
        raise InputError(
            f"{program} returned unknown labels: {listed}{more}", remedy=f"Check the version of {program}."
        )
    table = [LABELS[STRUCTURE_OF[int(number)]] for number in result.tolist()]
    return torch.tensor(table, dtype=torch.uint8)[place]


def _on_grid(
    labels: UInt8[Tensor, "a b c"],
    given: Float[Tensor, "4 4"],
    wanted: Float[Tensor, "4 4"],
    shape: torch.Size,
) -> UInt8[Tensor, "x y z"]:
    """Return the label nearest to each voxel of a grid; background where there is none."""
    way = torch.linalg.solve(given, wanted)
    steps = [torch.arange(size, dtype=torch.float64) for size in shape]
    flat = torch.zeros(shape, dtype=torch.int64)
    inside = torch.ones(shape, dtype=torch.bool)
    for axis, size in enumerate(labels.shape):
        i, j, k = (step * way[axis, place] for place, step in enumerate(steps))
        index = (i[:, None, None] + j[:, None] + k + way[axis, 3]).round().long()
        inside &= (index >= 0) & (index < size)
        flat = flat * size + index.clamp(0, size - 1)
    return torch.where(inside, labels.flatten()[flat], torch.zeros((), dtype=torch.uint8))
