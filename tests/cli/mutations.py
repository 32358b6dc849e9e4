"""Small trees of images and the thousand ways in which they can be wrong.

A mutation is data, so that a failing example can be read and shrunk: the name of what is done, to
which of the files, and with what. `apply` does it to files that are there, and passes over what has
become impossible because of an earlier mutation.
"""

import gzip
import json
import math
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from tests.bids.files import AFFINE, nifti_bytes
from unweight.bids.names import image_stem

SHORT, INTEGER, FLOAT = "<h", "<i", "<f"
# Fields of a NIfTI-1 header: where, and as what they are stored.
HEADER = {
    "sizeof_hdr": (0, INTEGER),
    **{f"dim{index}": (40 + 2 * index, SHORT) for index in range(8)},
    "datatype": (70, SHORT),
    "bitpix": (72, SHORT),
    **{f"pixdim{index}": (76 + 4 * index, FLOAT) for index in range(5)},
    "vox_offset": (108, FLOAT),
    "scl_slope": (112, FLOAT),
    "scl_inter": (116, FLOAT),
    "xyzt_units": (123, "<B"),
    "qform_code": (252, SHORT),
    "sform_code": (254, SHORT),
    **{f"quatern{index}": (256 + 4 * index, FLOAT) for index in range(6)},
    **{f"srow{index}": (280 + 4 * index, FLOAT) for index in range(12)},
    "magic": (344, "<4s"),
}
SHORTS = (0, 1, 2, 4, 7, 8, 16, 32, 64, 128, 255, 256, 512, 1024, 1536, 2048, 2304, 32767, -1, -32768)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, 3e38, math.nan, math.inf, -math.inf, 352.0, 352.5, 1e-45, 7.3)
MAGICS = (b"n+1\0", b"ni1\0", b"n+2\0", b"\0\0\0\0", b"n+1 ")
VALUES = ("nan", "some nan", "inf", "zero", "constant", "negative", "huge", "tiny", "complex", "rgb")
VALUES += ("int16", "uint8", "float64", "clipped", "overflow", "noise")
PACKINGS = ("damaged", "twice", "bomb", "named wrongly", "swapped", "empty", "two members", "tail")
GRIDS = ("other shape", "moved", "sheared", "flipped", "flat", "line", "voxel", "series", "none")
HOSTILE = (
    "sub-01_inv-1_inv-2_IRT1.nii.gz",
    "sub-01_inv-a_IRT1.nii.gz",
    "sub-01_inv-9999999999999999999999_IRT1.nii.gz",
    "sub-..%2f_inv-1_IRT1.nii.gz",
    "sub-01_inv-1\n\x1b[31mred_IRT1.nii.gz",
    "sub-ä_inv-1_IRT1.nii.gz",
    "sub-01_acq-[/red]_inv-1_IRT1.nii.gz",
    "sub-02_inv-1_IRT1.nii.gz",
    "-rf.nii.gz",
    "[/a].nii",
    os.fsdecode(b"sub-\xff_inv-3_IRT1.nii"),
    "sub-01_echo-1_part-mag_MEGRE.nii.gz",
    "sub-01_echo-01_part-mag_MEGRE.nii.gz",
    "sub-01_echo-1_part-real_MEGRE.nii.gz",
    "sub-01_echo-1\x1b]0;title\x07_MEGRE.nii.gz",
    "sub-01_IRT1.nii.gz",
    "n" * 250 + ".nii",
    ".nii",
)
FIELDS = ("InversionTime", "EchoTime", "RepetitionTime", "RepetitionTimeExcitation", "FlipAngle")
FIELDS += ("RepetitionTimePreparation", "MagneticFieldStrength", "ImageType", "Units", "unweight", "B0_dir")
FIELDS += ("PhilipsScaleSlope", "PhilipsRescaleSlope", "UsePhilipsFloatNotDisplayScaling", "Manufacturer")
FIELDS += ("ManufacturersModelName", "SkullStripped", "SliceThickness", "PhilipsRWVSlope", "\x1b[2J")
WRONG: tuple[object, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        0.4,
        1.5,
        3,
        400,
        2500,
        1e-300,
        1e308,
        10**400,
        -(10**30),
        "",
        "0.4",
        "mag",
    ),
    *("\ud800", "a\x1b[31m\nb", "/home/jane/scan", "rad", "arbitrary", "x" * 70000, [], [0.1], [True], {}),
    *([0.1, 0.2, 0.3], ["M", "P"], ["ORIGINAL", "PRIMARY", "M"], [["M"]], [0, 0, 10**400], [0, 0, 0]),
    *([1e-320, 0, 0], [3e38] * 3, ["1", "2", "3"], {"ReadoutTime": "x"}, {"ReadoutTime": 0.01}),
    *({"a": {"b": [{}] * 3}}, {"ReadoutTime": 10**400}, [[[[]]]], [0.004] * 5),
)
TEXTS = (
    *(b"", b"{", b"[]", b"null", b"3", b'"x"', b'{"a": NaN}', b'{"EchoTime": Infinity}', b"\xff\xfe{}"),
    *(b'{"EchoTime": 1e999}', b'{"EchoTime": -1e999}', b'{"a": 1, "a": 2}', b'\xef\xbb\xbf{"EchoTime": 1}'),
    *(b'{"B0_dir": [1e999, 0, 1]}', b'{"a": "\xc3\x28"}', b"[" * 100000, b'{"a":' * 5000, b"1" * 5000),
    *(b'{"EchoTime": 1' + b"0" * 5000 + b"}", b'{"\\u001b[31m": 1, "\\u001b[31m": 2}', b"\0" * 100),
)
NAMES = st.sampled_from(HOSTILE)
# Mutations that can be of all images at once, and from which number on they are.
OF_IMAGES = ("header", "bytes", "voxels", "packing", "grid", "field", "text")
EVERY = 12
IMPOSSIBLE = (OSError, ValueError, ArithmeticError, IndexError, EOFError, RecursionError)
IMPOSSIBLE += (zlib.error, struct.error)


class Mutation(NamedTuple):
    """One thing that is wrong."""

    what: str
    which: int
    value: Any


def mutations() -> st.SearchStrategy[list[Mutation]]:
    """Give up to three mutations."""
    which = st.integers(0, 15)
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "header": st.tuples(st.sampled_from(sorted(HEADER)), st.integers(0, 19)),
        "bytes": st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6),
        "cut": st.integers(0, 3000),
        "voxels": st.sampled_from(VALUES),
        "packing": st.sampled_from(PACKINGS),
        "grid": st.sampled_from(GRIDS),
        "field": st.tuples(st.sampled_from(FIELDS), st.sampled_from(WRONG)),
        "text": st.sampled_from(TEXTS),
        "rename": NAMES,
        "copy": NAMES,
        "path": st.sampled_from(("remove", "directory", "outside", "dangling", "loop", "fifo", "locked")),
        "folder": st.sampled_from(("remove", "outside", "dangling", "file", "locked", "renamed")),
        "sidecar": st.sampled_from(
            ("directory", "dangling", "loop", "fifo", "outside", "remove", "locked")
        ),
        "inherited": st.tuples(st.sampled_from(FIELDS), st.sampled_from(WRONG)),
        "description": st.sampled_from(TEXTS),
    }
    one = st.sampled_from(sorted(kinds)).flatmap(
        lambda what: st.builds(Mutation, st.just(what), which, kinds[what])
    )
    return st.lists(one, max_size=3)


def apply(root: Path, mutation: Mutation) -> None:
    """Do it to one of the files under a folder, or to all of them."""
    change = CHANGES[mutation.what]
    among = mutation.what in OF_IMAGES and mutation.which >= EVERY
    for which in range(len(_images(root))) if among else [mutation.which]:
        try:
            change(root, which, mutation.value)
        except IMPOSSIBLE:
            continue  # what it would have changed is not there any more, or cannot have that name


def _images(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.nii*") if not path.is_fifo())


def _image(root: Path, which: int) -> Path:
    found = _images(root)
    if not found:
        raise ValueError("no image is left")
    return found[which % len(found)]


def _plain(path: Path) -> bytearray:
    content = path.read_bytes()
    return bytearray(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)


def _store(path: Path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content, 1, mtime=0) if path.suffix == ".gz" else content)


def _header(root: Path, which: int, value: tuple[str, int]) -> None:
    path = _image(root, which)
    content = _plain(path)
    (offset, form), choice = HEADER[value[0]], value[1]
    numbers: dict[str, tuple[object, ...]] = {FLOAT: FLOATS, "<4s": MAGICS, "<B": tuple(range(20))}
    listed = numbers.get(form, SHORTS)
    struct.pack_into(form, content, offset, listed[choice % len(listed)])
    _store(path, content)


def _bytes(root: Path, which: int, value: list[tuple[int, int]]) -> None:
    path = _image(root, which)
    content = _plain(path)
    for position, byte in value:
        content[position % len(content)] = byte
    _store(path, content)


def _cut(root: Path, which: int, value: int) -> None:
    path = _image(root, which)
    path.write_bytes(path.read_bytes()[:value])


def _voxels(root: Path, which: int, value: str) -> None:
    path = _image(root, which)
    header = _plain(path)
    shape = struct.unpack_from("<8h", header, 40)
    size = [max(1, min(one, 16)) for one in shape[1:4]]
    _store(path, nifti_bytes(_made(value, tuple(size)), _affine(header)))


def _affine(content: bytes) -> np.ndarray[Any, Any]:
    """Return the affine of an image, or another one if it is spoilt."""
    affine = np.eye(4)
    affine[:3] = np.frombuffer(content[280:328], "<f4").reshape(3, 4)
    return affine if np.isfinite(affine).all() and abs(np.linalg.det(affine)) > 1e-3 else AFFINE.copy()


def _made(value: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return voxels of one kind of trouble."""
    rng = np.random.default_rng(0)
    data = rng.uniform(1, 1000, shape).astype(np.float32)
    if value == "some nan":
        data[rng.random(shape) < 0.3] = np.nan
    filled = {"nan": np.nan, "inf": np.inf, "zero": 0, "constant": 7, "huge": 3e38, "tiny": 1e-42}
    if value in filled:
        data[:] = filled[value]
    types = {"int16": np.int16, "uint8": np.uint8, "float64": np.float64, "complex": np.complex64}
    if value in types:
        return data.astype(types[value])
    if value == "rgb":
        return np.zeros(shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    if value == "clipped":
        return np.minimum(data * 8, 4095).astype(np.int16)
    if value == "overflow":
        return data.astype(np.float64) * 1e300
    return {"negative": -data, "noise": data - 500}.get(value, data)


def _packing(root: Path, which: int, value: str) -> None:
    path = _image(root, which)
    stored, plain = path.read_bytes(), bytes(_plain(path))
    made: dict[str, Callable[[], bytes]] = {
        "damaged": lambda: stored[:40] + bytes([stored[40] ^ 0xFF]) + stored[41:],
        "twice": lambda: gzip.compress(gzip.compress(plain)),
        "bomb": lambda: gzip.compress(plain + bytes(64 * 2**20), 1),
        "named wrongly": lambda: plain if path.suffix == ".gz" else gzip.compress(plain),
        "swapped": lambda: _swapped(plain),
        "empty": lambda: b"",
        "two members": lambda: gzip.compress(plain[:400]) + gzip.compress(plain[400:]),
        "tail": lambda: stored + b"tail" * 100,
    }
    path.write_bytes(made[value]())


def _swapped(plain: bytes) -> bytes:
    """Return an image with the bytes of each number of header and data the other way round."""
    content = bytearray(plain)
    for offset, form in HEADER.values():
        if form in (SHORT, INTEGER, FLOAT):
            (number,) = struct.unpack_from(form, plain, offset)
            struct.pack_into(form.replace("<", ">"), content, offset, number)
    content[352:] = np.frombuffer(plain[352:], "<f4").astype(">f4").tobytes()
    return bytes(content)


def _grid(root: Path, which: int, value: str) -> None:
    path = _image(root, which)
    shapes = {"other shape": (7, 8, 4), "flat": (8, 8, 1), "line": (8, 1, 1), "voxel": (1, 1, 1)}
    shape = shapes.get(value, (8, 8, 4, 3) if value == "series" else (8, 8, 4))
    affine = _affine(_plain(path))
    affine[:3, 3] += 5.0 * (value == "moved")
    affine[0, 1] += 1.0 * (value == "sheared")
    affine[:, 0] *= -1.0 if value == "flipped" else 1.0
    content = bytearray(nifti_bytes(_made("", shape), affine))
    if value == "none":
        struct.pack_into("<2h", content, 252, 0, 0)
    _store(path, content)


def _fields_of(path: Path) -> dict[str, object]:
    held = json.loads(path.read_bytes())
    if not isinstance(held, dict):
        raise ValueError("no object")
    return held


def _sidecar_of(path: Path) -> Path:
    beside = path.with_name(f"{image_stem(path)}.json")
    if beside.is_fifo():
        raise ValueError("nobody writes there")
    return beside


def _field(root: Path, which: int, value: tuple[str, object]) -> None:
    path = _sidecar_of(_image(root, which))
    held = _fields_of(path) if path.exists() else {}
    path.write_text(json.dumps(held | {value[0]: value[1]}))


def _text(root: Path, which: int, value: bytes) -> None:
    _sidecar_of(_image(root, which)).write_bytes(value)


def _inherited(root: Path, which: int, value: tuple[str, object]) -> None:
    name = ("IRT1.json", "MEGRE.json", "sub-01_IRT1.json", "sub-01_MEGRE.json")[which % 4]
    folder = (root, root / "sub-01", root / "sub-01" / "anat")[which % 3]
    held = _fields_of(folder / name) if (folder / name).exists() else {}
    (folder / name).write_text(json.dumps(held | {value[0]: value[1]}))


def _description(root: Path, _: int, value: bytes) -> None:
    (root / "dataset_description.json").write_bytes(value)


def _rename(root: Path, which: int, value: str) -> None:
    path = _image(root, which)
    path.rename(path.with_name(value))


def _copy(root: Path, which: int, value: str) -> None:
    path = _image(root, which)
    shutil.copy(path, path.with_name(value))
    if _sidecar_of(path).exists():
        shutil.copy(_sidecar_of(path), _sidecar_of(path.with_name(value)))


def _replaced(path: Path, value: str, outside: Path) -> None:
    """Put something else where a file is."""
    if value == "locked":
        path.chmod(0)
        return
    if path.exists() or path.is_symlink():
        path.unlink()
    if value == "directory":
        path.mkdir()
    elif value == "fifo":
        os.mkfifo(path)
    elif value in ("outside", "dangling", "loop"):
        path.symlink_to({"outside": outside, "dangling": Path("nowhere"), "loop": path}[value])


def _path(root: Path, which: int, value: str) -> None:
    path = _image(root, which)
    outside = root.parent / "outside" / path.name
    if value == "outside":
        outside.parent.mkdir(exist_ok=True)
        shutil.copy(path, outside)
    _replaced(path, value, outside)


def _sidecar(root: Path, which: int, value: str) -> None:
    path = _sidecar_of(_image(root, which))
    outside = root.parent / "outside.json"
    outside.write_text('{"EchoTime": 0.01}')
    _replaced(path, value, outside)


def _folder(root: Path, which: int, value: str) -> None:
    folder = (root / "sub-01", root / "sub-01" / "anat")[which % 2]
    if value == "locked":
        folder.chmod(0)
        return
    away = root.parent / "away"
    folder.rename(away)
    if value == "outside":
        folder.symlink_to(away)
    elif value == "dangling":
        folder.symlink_to("nowhere")
    elif value == "file":
        folder.write_text("x")
    elif value == "renamed":
        away.rename(folder.with_name("sub-a\x1b[31m\nb"))


CHANGES: dict[str, Callable[[Path, int, Any], None]] = {
    "header": _header,
    "bytes": _bytes,
    "cut": _cut,
    "voxels": _voxels,
    "packing": _packing,
    "grid": _grid,
    "field": _field,
    "text": _text,
    "rename": _rename,
    "copy": _copy,
    "path": _path,
    "folder": _folder,
    "sidecar": _sidecar,
    "inherited": _inherited,
    "description": _description,
}
