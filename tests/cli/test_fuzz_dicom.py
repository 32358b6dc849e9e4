"""Folders of damaged DICOM through `unweight t1`: a result that names what it lacks, or a reason.

Damage to pixel data that still decode is beyond what a reader of files can see; no other damage may lead to
a map of another T1 without the file being named.
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.outcome import called, check_outcome
from tests.dicom_maker import LEFT, RISE, SHAPE, Order, Quantity, write_dicom

NUMBERS = itertools.count()
QUICK = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(QUICK, max_examples=500, derandomize=False, print_blob=True)
TAGS = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel")
TAGS += ("InversionTime", "RepetitionTime", "EchoTime", "SeriesNumber", "InstanceNumber", "SliceThickness")
TAGS += ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SeriesInstanceUID", "Modality")
TAGS += ("PixelData", "RescaleSlope", "RescaleIntercept", "SOPInstanceUID", "NumberOfFrames")
VALUES = (None, 0, -1, 1, 7, 65535, "x", 1e30, "1\\2\\3", "")


class Damage(NamedTuple):
    """What is done to one file."""

    kind: str
    which: int
    value: Any


def damages() -> st.SearchStrategy[list[Damage]]:
    """Give up to two damages."""
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "cut": st.floats(0, 1),
        "empty": st.none(),
        "random": st.integers(0, 10),
        "bytes": st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 255)), min_size=1, max_size=4),
        "remove": st.none(),
        "copy": st.none(),
        "dangling": st.none(),
        "tag": st.tuples(st.sampled_from(TAGS), st.sampled_from(VALUES)),
    }
    one = st.sampled_from(sorted(kinds)).flatmap(
        lambda kind: st.builds(Damage, st.just(kind), st.integers(0, 23), kinds[kind])
    )
    return st.lists(one, max_size=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("fuzz-dicom")
    write_dicom(place / "dicom", Order(quantity=Quantity.T1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield place


def damage(folder: Path, how: Damage) -> None:
    """Do it to one of the files; what has become impossible is passed over."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if not files:
        return
    path = files[how.which % len(files)]
    content = path.read_bytes()
    if how.kind == "cut":
        path.write_bytes(content[: int(how.value * len(content))])
    elif how.kind == "empty":
        path.write_bytes(b"")
    elif how.kind == "random":
        path.write_bytes(np.random.default_rng(how.value).bytes(len(content)))
    elif how.kind == "bytes":
        changed = bytearray(content)
        for place, byte in how.value if content else ():
            changed[int(place * (len(changed) - 1))] = byte
        path.write_bytes(bytes(changed))
    elif how.kind == "remove":
        path.unlink()
    elif how.kind == "copy":
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    elif how.kind == "dangling":
        path.unlink()
        path.symlink_to("nowhere")
    else:
        _set_tag(path, *how.value)


def _set_tag(path: Path, keyword: str, value: object) -> None:
    try:
        image = pydicom.dcmread(path)
        if value is None:
            del image[keyword]
        else:
            setattr(image, keyword, value)
        image.save_as(path)
    except Exception:  # pydicom refuses many of these, each in its own way
        return


def try_one(place: Path, found: list[Damage]) -> None:
    """Damage a copy of the folder, map it, and look at what came of it."""
    here = place / f"try{next(NUMBERS)}"
    shutil.copytree(place / "dicom", here / "dicom")
    for how in found:
        damage(here / "dicom", how)
    words = ["t1", here / "dicom", "-o", here / "out", "--no-figures", "--no-report", "--method", "ml"]
    outcome = called(words)
    check_outcome(outcome, here / "out")
    silent = all(how.kind in ("cut", "empty", "random", "remove", "copy", "dangling") for how in found)
    for path in (here / "out").rglob("*_T1map.nii.gz"):
        if "_desc-" not in path.name and outcome.code == 0 and silent:
            _check_t1(path)
    shutil.rmtree(here)


def _check_t1(path: Path) -> None:
    """Compare both halves of every slice with the truth, or its like where slices were lost at an end."""
    t1 = np.asarray(nib.load(path).dataobj)
    halves = [np.nanmedian(half, axis=(0, 1)) for half in np.split(t1, 2, axis=0)]
    truth = [[value * (1 + RISE * z) for z in range(SHAPE[2])] for value in LEFT["t1"]]
    for half in halves:
        for value in half:
            assert min(abs(value / one - 1) for row in truth for one in row) < 0.05


@QUICK
@given(damages())
def test_damaged_dicom_gives_a_result_or_a_reason(place, found):  # type: ignore[no-untyped-def]
    try_one(place, found)


@pytest.mark.slow
@LONG
@given(damages())
def test_damaged_dicom_hundreds_of_times(place, found):  # type: ignore[no-untyped-def]
    try_one(place, found)
