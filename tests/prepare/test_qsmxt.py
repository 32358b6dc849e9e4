"""A program of the same name stands in for qsmxt: it copies images, and keeps what it was called with."""

import json
import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.susceptibility.scenes import ball
from unweight.core.errors import InputError, UsageError
from unweight.prepare.qsmxt import qsmxt_background, qsmxt_inversion
from unweight.susceptibility.dipole import field_from_susceptibility
from unweight.susceptibility.geometry import FieldGeometry, Triple

SHAPE = (8, 7, 6)
VOXEL = (1.0, 2.0, 3.0)
OBLIQUE: Triple = (0.48, -0.6, -0.64)
PROGRAM = """#!{python}
import json, os, shutil, sys
words = sys.argv[1:]
folder = os.environ["KEPT"]
with open(os.path.join(folder, "words.json"), "w") as file:
    json.dump(words, file)
mask = words[words.index("--mask") + 1]
shutil.copy(words[2], os.path.join(folder, "field.nii.gz"))
shutil.copy(mask, os.path.join(folder, "mask.nii.gz"))
{does}
"""
COPIES = """
shutil.copy(words[2], words[words.index("--output") + 1])
if "--output-mask" in words:
    shutil.copy(mask, words[words.index("--output-mask") + 1])
"""
FAILS = """
sys.stderr.write("thread 'main' panicked\\nno such method\\nrun with a backtrace\\n")
sys.exit(101)
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> Path:
    program = folder / "bin" / "qsmxt"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable, does=does))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KEPT", str(folder))
    return folder


@pytest.fixture
def copying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return install(tmp_path, monkeypatch, COPIES)


def field() -> torch.Tensor:
    return torch.arange(1, 1 + np.prod(SHAPE), dtype=torch.float32).reshape(SHAPE) / 100


def mask() -> torch.Tensor:
    inside = torch.zeros(SHAPE, dtype=torch.bool)
    inside[1:5, 2:6, 1:4] = True
    return inside


def words_of(folder: Path) -> list[str]:
    words: list[str] = json.loads((folder / "words.json").read_text())
    return words


def seen(folder: Path, name: str) -> torch.Tensor:
    return torch.from_numpy(np.asarray(nib.load(folder / f"{name}.nii.gz").dataobj).astype(np.float32))


def test_background_is_called_with_all_it_needs(copying: Path) -> None:
    geometry = FieldGeometry(voxel_mm=VOXEL)
    local = qsmxt_background(field(), mask(), geometry, method="pdf")
    words = words_of(copying)
    assert words[:2] == ["bgremove", "pdf"]
    assert [word for word in words if word.startswith("--")] == [
        "--mask",
        "--output",
        "--output-mask",
        "--b0-direction",
    ]
    assert words[-3:] == ["0.000000", "0.000000", "1.000000"]
    assert nib.load(copying / "field.nii.gz").header.get_zooms() == pytest.approx(VOXEL)
    assert torch.equal(local.field, torch.where(mask(), field(), torch.zeros(())))
    assert torch.equal(local.mask, mask())
    assert torch.equal(seen(copying, "mask"), mask().float())


def test_inversion_is_called_with_all_it_needs(copying: Path) -> None:
    chi = qsmxt_inversion(field(), mask(), FieldGeometry(voxel_mm=VOXEL))
    words = words_of(copying)
    assert words[:2] == ["invert", "rts"]
    assert "--output-mask" not in words
    assert torch.equal(chi, torch.where(mask(), field(), torch.zeros(())))
    assert chi.dtype == torch.float32


def test_axes_against_the_field_are_mirrored_and_mirrored_back(copying: Path) -> None:
    geometry = FieldGeometry(voxel_mm=VOXEL, direction=OBLIQUE)
    chi = qsmxt_inversion(field(), mask(), geometry)
    assert [float(word) for word in words_of(copying)[-3:]] == [abs(part) for part in OBLIQUE]
    inside = torch.where(mask(), field(), torch.zeros(()))
    assert torch.equal(seen(copying, "field"), inside.flip([1, 2]))
    assert torch.equal(seen(copying, "mask"), mask().float().flip([1, 2]))
    assert torch.equal(chi, inside)


def test_mirrored_images_are_those_of_a_mirrored_head() -> None:
    """The field of mirrored sources in the mirrored direction is the mirrored field."""
    shape, voxel = (20, 18, 16), (1.0, 1.0, 1.0)
    chi = ball(shape, voxel, (2.0, -3.0, 1.0), 3.0)
    made = field_from_susceptibility(chi, voxel, OBLIQUE)
    x, y, z = OBLIQUE
    mirrored = field_from_susceptibility(chi.flip([1, 2]), voxel, (abs(x), abs(y), abs(z)))
    torch.testing.assert_close(mirrored, made.flip([1, 2]), atol=1e-6, rtol=0)


def test_double_precision_stays(copying: Path) -> None:
    chi = qsmxt_inversion(field().double(), mask(), FieldGeometry(voxel_mm=VOXEL))
    assert chi.dtype == torch.float64


def test_no_program_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no program called qsmxt") as caught:
        qsmxt_inversion(field(), mask(), FieldGeometry(voxel_mm=VOXEL))
    assert "leave out --qsmxt" in str(caught.value)


def test_what_a_failing_program_said_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, FAILS)
    wanted = r"qsmxt bgremove vsharp failed \(exit code 101\): .*no such method"
    with pytest.raises(InputError, match=wanted):
        qsmxt_background(field(), mask(), FieldGeometry(voxel_mm=VOXEL))


def test_a_program_that_writes_nothing_or_another_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "")
    with pytest.raises(InputError, match="there is no such file"):
        qsmxt_inversion(field(), mask(), FieldGeometry(voxel_mm=VOXEL))
    other = tmp_path / "other.nii"
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.float32), np.eye(4)), other)
    folder = tmp_path / "second"
    folder.mkdir()
    install(folder, monkeypatch, f'shutil.copy({str(other)!r}, words[words.index("--output") + 1])')
    with pytest.raises(InputError, match="an image of another size"):
        qsmxt_inversion(field(), mask(), FieldGeometry(voxel_mm=VOXEL))
