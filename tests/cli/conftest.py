"""One small simulated phantom, mapped once, for the tests that look at what the commands made."""

import shutil
from pathlib import Path

import nibabel as nib
import pytest

from unweight.cli.main import main


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    assert main(["demo", "-o", str(out), "--quiet", "--phantom-only"]) == 0
    return out


@pytest.fixture(scope="session")
def small_tree(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of the phantom, a slice with half of it and of the air, for tests that map it anew."""
    tree = tmp_path_factory.mktemp("small") / "bids"
    shutil.copytree(demo / "bids", tree)
    for path in sorted(tree.rglob("*_IRT1.nii.gz")):
        image = nib.load(path)
        cut = image.slicer[: image.shape[0] // 2, :, 1:2]
        cut = nib.Nifti1Image(cut.get_fdata(dtype="f4"), cut.affine)
        path.unlink()
        nib.save(cut, path)
    return tree
