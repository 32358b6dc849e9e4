import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import netcdf_file

from unweight.core.errors import InputError
from unweight.heads.brainweb import BRAINWEB, find_brainweb, read_brainweb
from unweight.synth.anatomy.crop import draw_crop
from unweight.synth.anatomy.labels import Anatomy, fractions
from unweight.synth.anatomy.nuclei import with_nuclei
from unweight.synth.tissue.materials import DEEP_GREY, INDEX


def write_minc(path: Path, labels: np.ndarray, step: float = 0.5) -> Path:
    """Write labels (z, y, x) as MINC 1 does, as little of it as is needed."""
    plain = path.with_name("plain.mnc")
    with netcdf_file(plain, "w", mmap=False) as file:
        for name, size, start in zip(("zspace", "yspace", "xspace"), labels.shape, (5, 6, 7), strict=True):
            file.createDimension(name, size)
            axis = file.createVariable(name, "i", ())
            axis.spacing = b"regular__"
            axis.step, axis.start, axis.length = step, float(start), size
            axis.direction_cosines = np.eye(3)[{"xspace": 0, "yspace": 1, "zspace": 2}[name]]
        image = file.createVariable("image", "b", ("zspace", "yspace", "xspace"))
        image[:] = labels.astype(np.int8)
        image.signtype, image.valid_range = b"unsigned", np.array([0.0, 255.0])
        for name, value in (("image-min", 0.0), ("image-max", 255.0)):
            bound = file.createVariable(name, "d", ())
            bound.data = np.array(value)
    path.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    return path


def test_labels_axes_and_names(tmp_path: Path) -> None:
    stored = np.arange(24).reshape(2, 3, 4) % len(BRAINWEB)
    anatomy = read_brainweb(write_minc(tmp_path / "subject07_crisp_v.mnc.gz", stored))
    assert anatomy.subject == "brainweb07"
    assert anatomy.voxel_mm == (0.5, 0.5, 0.5)
    expected = [[[INDEX[BRAINWEB[stored[k, j, i]]] for k in range(2)] for j in range(3)] for i in range(4)]
    assert anatomy.labels.tolist() == expected
    assert anatomy.affine[:3, 3].tolist() == [7.0, 6.0, 5.0]


def test_axes_that_run_backwards_are_turned(tmp_path: Path) -> None:
    stored = np.arange(8).reshape(2, 2, 2)
    anatomy = read_brainweb(write_minc(tmp_path / "subject07_crisp_v.mnc.gz", stored, step=-1.0))
    assert bool((anatomy.affine[:3, :3].diagonal() > 0).all())
    assert int(anatomy.labels[1, 1, 1]) == INDEX[BRAINWEB[0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a MINC file"),
        (b"nonsense" * 100, "not a MINC file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "MINC 2"),
        (b"CDF\x01" + bytes(100), "damaged MINC file"),
        (b"\x1f\x8b" + bytes(20), "cut short or damaged"),
        (gzip.compress(b"CDF\x01" + bytes(1000), mtime=0)[:-12], "cut short or damaged"),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "subject07_crisp_v.mnc.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_brainweb(path)
    assert caught.value.path == path


def test_damage_anywhere_is_an_input_error(tmp_path: Path) -> None:
    path = write_minc(tmp_path / "subject07_crisp_v.mnc.gz", np.zeros((2, 3, 4)))
    content = gzip.decompress(path.read_bytes())
    generator = np.random.default_rng(0)
    for _ in range(150):
        broken = bytearray(content)
        broken[generator.integers(len(content) // 2)] = generator.integers(256)
        path.write_bytes(bytes(broken[: generator.integers(len(content) // 2, len(content) + 1)]))
        try:
            read_brainweb(path)
        except InputError:
            continue


@pytest.mark.parametrize("step", [0.0, np.nan, np.inf, 1e30])
def test_impossible_steps_are_refused(tmp_path: Path, step: float) -> None:
    path = write_minc(tmp_path / "subject07_crisp_v.mnc.gz", np.zeros((2, 3, 4)), step=step)
    with pytest.raises(InputError, match="the positions of its voxels"):
        read_brainweb(path)


def test_other_labels_and_names_are_refused(tmp_path: Path) -> None:
    path = write_minc(tmp_path / "subject07_crisp_v.mnc.gz", np.full((2, 2, 2), 12))
    with pytest.raises(InputError, match="holds label 12"):
        read_brainweb(path)
    with pytest.raises(InputError, match="is not named"):
        read_brainweb(tmp_path / "head.mnc")
    with pytest.raises(InputError, match="cannot be read"):
        read_brainweb(tmp_path / "subject08_crisp_v.mnc.gz")
    with pytest.raises(InputError, match="contains no BrainWeb head"):
        find_brainweb(tmp_path / "nowhere")
    assert find_brainweb(tmp_path) == (path,)


def test_a_real_head(shared_data: Callable[[str], Path]) -> None:
    anatomy = read_brainweb(find_brainweb(shared_data("brainweb_crisp"))[0])
    assert anatomy.labels.shape == (362, 434, 362) and anatomy.voxel_mm == (0.5, 0.5, 0.5)
    # Adults: about 0.6 to 1.1 l of grey and 0.5 to 0.9 l of white matter.
    assert 600 < anatomy.volume_ml("grey_matter") < 1100
    assert 500 < anatomy.volume_ml("white_matter") < 900
    assert 150 < anatomy.volume_ml("csf") < 500
    check_orientation(anatomy)
    slab = draw_crop(anatomy, (128, 128, 4), torch.Generator().manual_seed(0)).apply(anatomy)
    shares = fractions(slab.labels, (2, 2, 4))
    assert shares.shape[:3] == (64, 64, 1)
    carved = with_nuclei(anatomy)
    # Where label sets have grey matter, the striatum is mostly that.
    for name in ("caudate", "putamen"):
        was = anatomy.labels[carved.labels == INDEX[name]]
        assert float((was == INDEX["grey_matter"]).float().mean()) > 0.8, name
    assert all(carved.volume_ml(name) > 0.3 for name in DEEP_GREY)


def check_orientation(anatomy: Anatomy) -> None:
    """The brain is in the upper part of the head, and about the same on both sides."""
    white = anatomy.labels == INDEX["white_matter"]
    along_z = white.sum((0, 1)).double()
    assert float((along_z * torch.arange(362)).sum() / along_z.sum()) * 0.5 - 72.25 > 0
    assert float(white[:181].sum() / white[181:].sum()) == pytest.approx(1, abs=0.1)
