"""Programs of the same names stand in for the segmenters: they keep their calls, and write labels."""

import json
import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from unweight.core.errors import InputError, UsageError
from unweight.metrics.structures import STRUCTURES
from unweight.prepare.segmenters import FastSurfer, Segmenter, SynthSeg, installed, segment

SHAPE = (10, 9, 8)
AFFINE = torch.tensor(
    [[-2.0, 0, 0, 7], [0, 0, 1.5, -20], [0, 1.0, 0, 4], [0, 0, 0, 1]], dtype=torch.float64
)
SYNTHSEG = SynthSeg()
FASTSURFER = FastSurfer()
BOTH = pytest.mark.parametrize("segmenter", [SYNTHSEG, FASTSURFER], ids=lambda one: type(one).__name__)
PROGRAM = """#!{python}
import json, os, shutil, sys
import nibabel as nib
import numpy as np
words = sys.argv[1:]
folder = os.environ["KEPT"]
with open(os.path.join(folder, "words.json"), "w") as file:
    json.dump(words, file)
fast = "--t1" in words
given = words[words.index("--t1" if fast else "--i") + 1]
wanted = words[words.index("--asegdkt_segfile" if fast else "--o") + 1]
shutil.copy(given, os.path.join(folder, "image.nii.gz"))
image = nib.load(given)
numbers = np.asarray(image.dataobj)
def write(labels, affine, kind=np.int32):
    os.makedirs(os.path.dirname(wanted), exist_ok=True)
    nib.save(nib.Nifti1Image(labels.astype(kind), affine), wanted)
{does}
"""
COPIES = "write(numbers, image.affine)"
FAILS = """
print("reading", flush=True)
sys.stderr.write("Traceback\\nno such licence\\n")
sys.exit(3)
"""
# A grid of half the voxel size, two voxels larger on all sides, with the first axis the other way.
RESAMPLES = """
fine = np.pad(numbers.repeat(2, 0).repeat(2, 1).repeat(2, 2), 2)[::-1]
shift = np.eye(4)
shift[:3, 3] = -0.25 - 1
turn = np.diag([-1.0, 1, 1, 1])
turn[0, 3] = fine.shape[0] - 1
write(fine, image.affine @ shift @ np.diag([0.5, 0.5, 0.5, 1]) @ turn)
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter, does: str) -> Path:
    program = folder / "bin" / segmenter.program
    program.parent.mkdir(exist_ok=True)
    program.write_text(PROGRAM.format(python=sys.executable, does=does))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KEPT", str(folder))
    return folder


def words_of(folder: Path) -> list[str]:
    words: list[str] = json.loads((folder / "words.json").read_text())
    return words


def image_of(*numbers: int) -> torch.Tensor:
    """An image of FreeSurfer numbers, which the programs here copy: 0 first, then these, the rest 24."""
    values = torch.full((int(np.prod(SHAPE)),), 24.0)
    values[0] = 0
    values[1 : 1 + len(numbers)] = torch.tensor(numbers, dtype=torch.float32)
    return values.reshape(SHAPE)


def names_of(labels: torch.Tensor, n: int) -> list[str]:
    return [STRUCTURES[label] for label in labels.flatten()[1 : 1 + n].tolist()]


@BOTH
def test_freesurfer_numbers_become_structures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter
) -> None:
    install(tmp_path, monkeypatch, segmenter, COPIES)
    expected = {
        "background": (0, 30, 62, 85),
        "csf": (24, 4, 5, 14, 15, 43, 44, 31, 63),
        "grey_matter": (3, 42, 8, 47, 17, 53, 18, 54, 26, 58, 1002, 1035, 2002, 2035),
        "white_matter": (2, 41, 7, 46, 77, 251, 255, 16, 28, 60),
        "caudate": (11, 50),
        "putamen": (12, 51),
        "pallidum": (13, 52),
        "thalamus": (10, 49),
    }
    assert tuple(expected) == STRUCTURES
    pairs = [(number, name) for name, numbers in expected.items() for number in numbers]
    image = image_of(*(number for number, _ in pairs))
    labels = segment(segmenter, image, AFFINE)
    assert names_of(labels, len(pairs)) == [name for _, name in pairs]
    assert labels.dtype == torch.uint8 and labels.shape == SHAPE
    assert int(labels.flatten()[0]) == 0
    sent = nib.load(tmp_path / "image.nii.gz")
    assert np.array_equal(np.asarray(sent.dataobj), image.numpy())
    assert np.allclose(sent.affine, AFFINE.numpy())


def test_synthseg_is_called_with_all_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, SYNTHSEG, COPIES)
    segment(SYNTHSEG, image_of(2), AFFINE)
    words = words_of(tmp_path)
    assert words[::2][:2] == ["--i", "--o"] and all(Path(word).is_absolute() for word in words[1:4:2])
    assert words[4:] == ["--keepgeom", "--threads", "1", "--cpu"]
    segment(SynthSeg(robust=True, n_threads=3, cpu=False), image_of(2), AFFINE)
    assert words_of(tmp_path)[4:] == ["--keepgeom", "--threads", "3", "--robust"]


def test_fastsurfer_is_called_with_all_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its script wants absolute paths, and labels of the kind that its own grid's image is of."""
    install(tmp_path, monkeypatch, FASTSURFER, COPIES)
    segment(FASTSURFER, image_of(2), AFFINE)
    words = words_of(tmp_path)
    given = dict(zip(words[:10:2], words[1:10:2], strict=True))
    assert list(given) == ["--t1", "--sid", "--sd", "--asegdkt_segfile", "--conformed_name"]
    assert all(Path(path).is_absolute() for name, path in given.items() if name != "--sid")
    own = Path(given["--sd"]) / given["--sid"] / "mri"
    assert given["--asegdkt_segfile"] == str(own / "aparc.DKTatlas+aseg.deep.nii.gz")
    assert given["--conformed_name"] == str(own / "orig.nii.gz")
    only = ["--seg_only", "--no_biasfield", "--no_cereb", "--no_hypothal"]
    assert words[10:] == [*only, "--threads", "1", "--device", "cpu", "--viewagg_device", "cpu"]
    segment(FastSurfer(n_threads=2, cpu=False, as_root=True), image_of(2), AFFINE)
    assert words_of(tmp_path)[10:] == [*only, "--threads", "2", "--allow_root"]


@BOTH
def test_labels_on_another_grid_come_back_to_that_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter
) -> None:
    generator = torch.Generator().manual_seed(1)
    numbers = torch.tensor([0.0, 24.0, 3.0, 2.0, 11.0, 12.0, 13.0, 10.0])
    place = torch.randint(0, 8, SHAPE, generator=generator)
    install(tmp_path, monkeypatch, segmenter, RESAMPLES)
    assert torch.equal(segment(segmenter, numbers[place], AFFINE), place.to(torch.uint8))


def test_beyond_the_labels_is_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, SYNTHSEG, "write(numbers[:5], image.affine)")
    labels = segment(SYNTHSEG, image_of(), AFFINE)
    assert bool((labels[5:] == 0).all()) and bool((labels[1:5] == 1).all())


@BOTH
def test_no_program_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not installed(segmenter)
    with pytest.raises(UsageError, match=f"no program called {segmenter.program}") as caught:
        segment(segmenter, image_of(), AFFINE)
    assert "leave this segmenter out" in str(caught.value)


@BOTH
def test_what_a_failing_program_said_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter
) -> None:
    install(tmp_path, monkeypatch, segmenter, FAILS)
    assert installed(segmenter)
    wanted = rf"{segmenter.program} failed \(exit code 3\): reading .*no such licence"
    with pytest.raises(InputError, match=wanted):
        segment(segmenter, image_of(), AFFINE)


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ('print("stopped early")', "returned no labels: stopped early"),
        ("", "returned no labels: it printed no output"),
        ("write(numbers * 0 + 999, image.affine)", "unknown labels: 999"),
        ("write(numbers + 0.5, image.affine, np.float32)", "unknown labels: 0.5, 24.5"),
        ("write(numbers - 1, image.affine)", "unknown labels: -1"),
        ("write(numbers * 0, image.affine)", "found no brain"),
        ("write(numbers, np.diag([1, 1, 1, 1.0]) + 500 * np.eye(4, k=3))", "found no brain"),
        ("write(np.stack([numbers] * 2, -1), image.affine)", "not 3D instead of a label image"),
        (
            'os.makedirs(os.path.dirname(wanted), exist_ok=True); open(wanted, "w").write("?" * 400)',
            "NIfTI",
        ),
    ],
)
def test_wrong_labels_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, message: str
) -> None:
    install(tmp_path, monkeypatch, SYNTHSEG, does)
    with pytest.raises(InputError, match=message):
        segment(SYNTHSEG, image_of(), AFFINE)


def test_voxels_without_a_value_and_no_cores_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, SYNTHSEG, COPIES)
    image = image_of()
    image[2, 3, 4] = torch.nan
    with pytest.raises(InputError, match="1 voxels of the image have no value"):
        segment(SYNTHSEG, image, AFFINE)
    for kind in (SynthSeg, FastSurfer):
        with pytest.raises(UsageError, match="cannot use 0 cores"):
            kind(n_threads=0)
