"""Reading in blocks gives what reading at once gave, and a sample is one of all voxels."""

import gzip
import json
import struct
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from tests.bids.files import nifti_bytes, write_inversion_series, write_nifti
from unweight.bids.nifti import voxels
from unweight.bids.nifti.volume import count_values, open_volume
from unweight.bids.series import stack
from unweight.bids.series.mask import read_mask
from unweight.cli.main import main
from unweight.core import memory
from unweight.core.errors import InputError

SHAPES = [(7, 5, 4), (7, 5, 4, 3), (40, 1, 1), (1, 1, 50, 2), (3, 60, 2)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [1, 6, 20, 64, 2**20])
@pytest.mark.parametrize("kind", ["u1", "i2", "f4"])
def test_blocks_of_any_size_give_the_same(
    shape: tuple[int, ...], block: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of rows, rows, slices and several slices at a time."""
    monkeypatch.setattr(voxels, "BLOCK", block)
    data = np.random.default_rng(1).integers(0, 200, shape).astype(kind)
    volume = open_volume(write_nifti(tmp_path / "a.nii.gz", data))
    np.testing.assert_array_equal(volume.data.numpy(), data.astype("f4"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("every", [2, 3, 7, 35, 1000])
@pytest.mark.parametrize("block", [6, 20, 2**20])
def test_a_sample_holds_voxels_of_the_image_in_order(
    shape: tuple[int, ...], every: int, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voxels, "BLOCK", block)
    data = np.arange(np.prod(shape), dtype="f4").reshape(shape, order="F") + 1
    path = write_nifti(tmp_path / "a.nii", data)
    volume = open_volume(path, every=every)
    assert count_values(path) == data.size
    assert volume.grid.shape == shape[:3]
    plane = shape[0] * shape[1]
    within = int(volume.data[1, 0, 0].flatten()[0] - 1) if volume.data.shape[0] > 1 else plane
    across = -(-every // plane)
    flat = data.reshape(plane, 1, *shape[2:], order="F")[::within, :, ::across]
    np.testing.assert_array_equal(volume.data.numpy(), flat)
    assert within == plane or np.gcd(within, shape[0]) == 1  # all columns have a part in it
    assert volume.data.numel() <= 2 * data.size / every + np.prod(volume.data.shape[2:])


def test_all_voxels_are_judged_where_a_sample_is_kept(tmp_path: Path) -> None:
    data = np.zeros((30, 30, 4, 3), dtype="f4")
    data[29, 29, 3, 1], data[28, 29, 3, 2], data[5, 5, 0, 2] = 4.0, -1.0, np.nan
    volume = open_volume(write_nifti(tmp_path / "a.nii", data), every=100)
    assert [one.filled for one in volume.signs] == [False, True, True]
    assert [one.n_negative for one in volume.signs] == [0, 0, 1]
    assert volume.notes == ("1 of 10800 values are not finite; those voxels are masked",)
    data[29, 29, 3, 1] = 1e20
    with pytest.raises(InputError, match="has values beyond"):
        open_volume(write_nifti(tmp_path / "a.nii", data), every=100)
    data[29, 29, 3, 1] = 4.0
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(nifti_bytes(data)[:-8]))
    with pytest.raises(InputError, match="shorter than its header"):
        open_volume(tmp_path / "b.nii.gz", every=100)


def test_clipped_voxels_of_a_sample(tmp_path: Path) -> None:
    draws = np.random.default_rng(0).normal(3000, 600, (64, 64, 8))
    data = np.clip(draws, 0, 4095).astype("i2")
    volume = open_volume(write_nifti(tmp_path / "a.nii", data), every=7)
    assert volume.saturated is not None
    assert float(volume.saturated.double().mean()) == pytest.approx((data == 4095).mean(), abs=0.01)
    assert torch.equal(volume.saturated, volume.data == 4095)


def test_a_header_that_asks_for_more_memory_than_is_free_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", np.ones((100, 100, 100), dtype="i2"))
    monkeypatch.setattr(memory, "free_bytes", lambda: 2**20)
    with pytest.raises(InputError, match=r"needs 0\.00652 GiB of memory, and 0\.000977 GiB are free"):
        open_volume(path)
    assert open_volume(path, every=100).data.numel() < 20_000


def test_more_volumes_than_a_series_has_are_refused(tmp_path: Path) -> None:
    head = bytearray(nifti_bytes(np.ones((2, 2, 2), dtype="f4"))[:352])
    two = bytearray(540)
    two[:4] = struct.pack("<i", 540)
    two[4:12] = b"n+2\0\r\n\032\n"
    two[12:14], two[14:16] = struct.pack("<h", 2), struct.pack("<h", 8)
    two[16:80] = struct.pack("<8q", 4, 1, 1, 1, 10**9, 1, 1, 1)
    two[104:168] = struct.pack("<8d", *[1.0] * 8)
    two[168:176] = struct.pack("<q", 544)
    path = tmp_path / "a.nii"
    path.write_bytes(bytes(two) + bytes(4) + bytes(head))
    with pytest.raises(InputError, match="it claims 1000000000 volumes"):
        open_volume(path)


def write_zeros(path: Path, shape: tuple[int, ...]) -> None:
    """Write an image of floats that is 1 in its first voxels and compresses a thousandfold."""
    head = bytearray(nifti_bytes(np.ones((2, 2, 2), dtype="f4"))[:352])
    head[40:56] = struct.pack("<8h", len(shape), *shape, *[1] * (7 - len(shape)))
    n_bytes = 4 * int(np.prod(shape, dtype=np.int64))
    with gzip.open(path, "wb", 1) as file:
        file.write(bytes(head) + np.ones(2**18, dtype="f4").tobytes())
        left, zeros = n_bytes - 2**20, bytes(2**20)
        while left > 0:
            left -= file.write(zeros[: min(left, 2**20)])


def peak_of(*words: str) -> tuple[int, str]:
    """Return the peak memory of a command [byte], and what it said.

    `ru_maxrss` of a new process begins with what its parent held; `VmHWM` is of its own memory.
    """
    code = (
        "import pathlib, sys; from unweight.cli.main import main; sys.argv = ['unweight', *sys.argv[1:]]\n"
        "main(); status = pathlib.Path('/proc/self/status').read_text()\n"
        "print('PEAK', 1024 * int(status.split('VmHWM:')[1].split()[0]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return int(done.stdout.rsplit("PEAK ", 1)[1]), done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(512, 512, 1024, 4), (1024, 1024, 256, 4)])
def test_validate_takes_little_memory_for_a_small_file_of_much(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    """A file of four megabytes that holds 4 GiB."""
    write_zeros(tmp_path / "a.nii.gz", shape)
    (tmp_path / "a.json").write_text(json.dumps({"InversionTime": [0.1, 0.4, 1.0, 2.5]}))
    peak, said = peak_of("validate", str(tmp_path / "a.nii.gz"))
    assert "one volume is 0 everywhere" in said
    assert peak < 0.8 * 2**30


def test_a_command_says_what_is_missing_before_it_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = (0.05, 0.4, 1.1, 2.5)
    files = [str(path) for path in write_inversion_series(tmp_path / "in", times, shape=(64, 64, 8))]
    monkeypatch.setattr("unweight.cli.main.LIBRARIES_BYTES", 0)
    monkeypatch.setattr(memory, "free_bytes", lambda: 2**19)
    assert main(["t1", *files, "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "the series needs 0.000977 GiB of memory, and 0.000488 GiB are free" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_validate_says_the_same_of_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = (0.05, 0.4, 1.1, 2.5)
    files = [str(path) for path in write_inversion_series(tmp_path, times, shape=(64, 63, 5))]
    mask = np.zeros((64, 63, 5), dtype="u1")
    mask[63, 62, 4] = 1  # none of those that are kept
    call = ["validate", *files, "--mask", str(write_nifti(tmp_path / "mask.nii", mask))]
    assert main(call) == 0
    whole = capsys.readouterr().out
    monkeypatch.setattr(stack, "SAMPLED_VALUES", 1000)
    assert main(call) == 0
    assert capsys.readouterr().out == whole and "64 x 63 x 5" in whole
    data = np.full((64, 63, 5), 100.0, dtype="f4")
    data[10, 10, 3] = -1.0
    write_nifti(tmp_path / "ir_2.nii", data)
    assert main(call) == 2
    assert "has 1 negative values" in capsys.readouterr().err


def test_a_damaged_slice_and_undershoot_are_seen_in_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neighbours that the sample does not keep, and the one negative voxel of an image."""
    generator = np.random.default_rng(5)
    times = (0.05, 0.4, 1.1, 2.5)
    files = write_inversion_series(tmp_path, times)
    t1 = np.where(np.arange(64) < 32, 0.6, 1.2)[:, None, None] * np.ones((64, 63, 5))
    for index, (path, time) in enumerate(zip(files, times, strict=True)):
        data = np.abs(1000 * (1 - 2 * np.exp(-time / t1)) + generator.normal(0, 10, t1.shape))
        if index == 2:
            data[:, :, 3] = generator.integers(0, 4096, (64, 63))
        if index == 3:
            data[63, 62, 4] = -1.0
        write_nifti(path, data.astype("f4"))
    call = ["validate", *(str(path) for path in files), "--magnitude"]
    assert main(call) == 1
    whole = capsys.readouterr().out
    assert "incomplete" in whole and "(1, minimum -1)" in whole
    monkeypatch.setattr(stack, "SAMPLED_VALUES", 1000)
    assert main(call) == 1
    assert capsys.readouterr().out == whole


def test_a_mask_with_turned_axes_is_sampled_as_the_images_are(tmp_path: Path) -> None:
    inside = np.random.default_rng(6).integers(0, 2, (30, 21, 6)).astype("u1")
    image = write_nifti(tmp_path / "image.nii", inside.astype("f4"))
    straight = nibabel.Nifti1Image(inside, np.eye(4))
    flipped = nibabel.Nifti1Image(inside[::-1], np.diag([-1.0, 1.0, 1.0, 1.0]) + np.eye(4, k=3) * 29)
    nibabel.save(flipped, tmp_path / "flipped.nii")
    nibabel.save(straight, tmp_path / "straight.nii")
    sample = open_volume(write_nifti(image, inside.astype("f4"), affine=np.eye(4)), every=7)
    for name in ("flipped.nii", "straight.nii"):
        assert torch.equal(read_mask(tmp_path / name, sample.grid, every=7), sample.data != 0)
