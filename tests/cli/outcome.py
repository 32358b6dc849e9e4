"""What may come of a call, whatever it was given: a result that is whole, or one paragraph of why not."""

import hashlib
import io
import json
import signal
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import nibabel as nib
import numpy as np

from unweight.cli.main import main
from unweight.core.maps import FAILED

CODES = (0, 1, 2, 3)
PARTLY = ("failed", "incomplete", "mapped, but", "no voxel has a value")  # words of exit code 1
LONGEST_SECONDS = 60
LONGEST_LINE = 2000
FAILED_NUMBERS = sorted(int(status) for status in FAILED)


class Outcome(NamedTuple):
    """What a call said and how it ended."""

    code: int
    out: str
    err: str


class TookTooLong(BaseException):
    """The call did not end; no `except Exception` may swallow it."""


@contextmanager
def limited(seconds: int = LONGEST_SECONDS) -> Iterator[None]:
    """End a call that hangs."""

    def stop(_: int, __: FrameType | None) -> None:
        raise TookTooLong(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def called(words: Sequence[object], longest: int = LONGEST_SECONDS) -> Outcome:
    """Call the command; any exception but that of the argument parser is the caller's to see.

    Args:
        words: Of the call.
        longest: Seconds after which it is taken to hang. Workers start slowly where all cores are busy.
    """
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    err = io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), limited(longest):
        try:
            code = main([str(word) for word in words])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else -1
    out.seek(0)
    return Outcome(code, out.read(), err.getvalue())


def check_outcome(outcome: Outcome, out: Path) -> None:
    """Check that the call ended as it may, and left what it may."""
    assert outcome.code in CODES, outcome
    check_text(outcome.out)
    check_text(outcome.err)
    assert "Traceback" not in outcome.err
    sets = complete_sets(out) if out.is_dir() else []
    if outcome.code == 0:
        assert sets
    elif outcome.code == 1:
        assert any(word in outcome.err for word in PARTLY), outcome
    else:
        assert outcome.err.count("unweight ") >= 1, outcome
        assert not sets, "an error, and yet results"
    for path in sets:
        check_set(path)


def check_text(text: str) -> None:
    """Check that a text can be shown: no control characters, nothing that does not end."""
    for line in text.split("\n"):
        assert len(line) <= LONGEST_LINE, line[:300]
        wrong = [one for one in line if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
        assert not wrong, (line, wrong)


def complete_sets(out: Path) -> list[Path]:
    """Return the sidecars that complete a set; nothing may lie about that belongs to none."""
    files = [path for path in out.rglob("*") if path.is_file()]
    assert not [path for path in files if ".unfinished" in path.name]
    sets, listed = [], set()
    for path in sorted(out.rglob("sub-*/**/anat/*.json")):
        own = json.loads(path.read_text())["unweight"]
        for name, digest in own.get("SHA256", {}).items():
            image = path.with_name(name)
            assert hashlib.sha256(image.read_bytes()).hexdigest() == digest
            listed.add(image)
        sets += [path] if "SHA256" in own else []
    assert {path for path in files if path.name.endswith(".nii.gz")} == listed
    return sets


def check_set(sidecar: Path) -> None:
    """Check that every voxel has a value that is one, or a status that says why not."""
    stem, _, suffix = sidecar.name.removesuffix(".json").rpartition("_")
    short = "" if suffix == "T1map" else suffix.removesuffix("map")
    status = values_of(sidecar.with_name(f"{stem}_desc-{short}status_dseg.nii.gz"))
    failed = np.isin(status, FAILED_NUMBERS)
    for path in (sidecar, sidecar.with_name(f"{stem}_desc-std_{suffix}.json")):
        image = path.with_name(path.name.replace(".json", ".nii.gz"))
        assert np.isfinite(nib.load(image).affine).all(), path
        values = values_of(image)
        assert np.isnan(values[failed]).all(), path
        if path == sidecar or suffix == "T1map":
            assert np.isfinite(values[status == 0]).all(), path
        assert not np.isinf(values).any(), path
    if suffix == "T1map":
        values = values_of(sidecar.with_name(sidecar.name.replace(".json", ".nii.gz")))
        assert (values[~failed] > 0).all()
        assert (values[~failed] < 100).all()


def values_of(image: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the numbers of an image."""
    return np.asarray(nib.load(image).dataobj, dtype=np.float64)


def state(*roots: Path) -> dict[str, tuple[object, ...]]:
    """Return everything that is under some folders, so that two states can be compared."""
    found: dict[str, tuple[object, ...]] = {}
    for root in roots:
        for path in (root, *sorted(root.rglob("*"))):
            told = path.lstat()
            regular = stat.S_ISREG(told.st_mode)
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if regular else ""
            link = str(path.readlink()) if path.is_symlink() else ""
            found[str(path)] = (told.st_mode, told.st_size, told.st_mtime_ns, digest, link)
    return found
