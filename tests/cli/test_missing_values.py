"""What neither files nor the call give is asked for at once, and the call it asks for works."""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from unweight.cli.catalogue import COMMANDS
from unweight.cli.main import main, parse
from unweight.cli.options import options_of
from unweight.core.errors import MissingValuesError
from unweight.registry import load

CAPTURE = pytest.CaptureFixture[str]


def bare(path: Path, *volumes: int) -> Path:
    """Write an image without a sidecar."""
    values = np.random.default_rng(0).uniform(1, 2, (8, 8, 6, *volumes)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 2.0, 2.0, 1.0])), path)
    return path


def missing_in(words: Sequence[str]) -> list[str]:
    """Return the options that the error of a call names."""
    options = options_of(load(COMMANDS[words[0]].mapping), parse([*words, "-o", "out"]))
    (_, found), *_ = options.find()
    with pytest.raises(MissingValuesError) as raised:
        options.mapper().read(found)
    return [value.option.partition(" ")[0] for value in raised.value.missing]


def test_all_timings_of_an_examination_at_once(tmp_path: Path) -> None:
    files = [bare(tmp_path / f"head_{name}.nii.gz") for name in ("T1w", "T2w", "FLAIR")]
    by_option = ["--t1w", str(files[0]), "--t2w", str(files[1]), "--flair", str(files[2])]
    of_each = [f"--{name}-{time}" for name in ("t1w", "t2w", "flair") for time in ("tr", "te")]
    wanted = [*of_each, "--flair-ti", "--field"]
    for named in (by_option, [str(path) for path in files], [str(tmp_path)]):
        assert missing_in(["maps", *named, "--method", "physics"]) == wanted
    known = ["--t2w-tr", "5", "--t2w-te", "0.1", "--field", "3"]
    left = missing_in(["maps", *by_option, *known, "--method", "physics"])
    assert left == ["--t1w-tr", "--t1w-te", "--flair-tr", "--flair-te", "--flair-ti"]


def test_the_call_asked_for_works(tmp_path: Path) -> None:
    files = [str(bare(tmp_path / f"head_{name}.nii.gz")) for name in ("T1w", "T2w")]
    mask = str(bare(tmp_path / "mask.nii.gz"))
    words = ["maps", *files, "--mask", mask, "--method", "physics", "-o", str(tmp_path / "out"), "--quiet"]
    times = ["--t1w-tr", "0.6", "--t1w-te", "0.012", "--t2w-tr", "5", "--t2w-te", "0.1", "--field", "3"]
    assert main([*words, *times, "--subject", "ab", "--no-figures", "--no-report"]) in (0, 1)
    assert main(words) == 2


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("t1", "SERIES"), ["--ti", "--tr"]),
        (("qsm", "--mag", "SERIES", "--phase", "SERIES"), ["--te", "--field"]),
        (("r2star", "--mag", "SERIES"), ["--te"]),
        (("t2", "SERIES"), ["--te"]),
    ],
)
def test_all_of_a_series_at_once(tmp_path: Path, words: tuple[str, ...], wanted: list[str]) -> None:
    series = str(bare(tmp_path / "series.nii.gz", 4))
    assert missing_in([series if word == "SERIES" else word for word in words]) == wanted


def test_the_message_is_the_end_of_the_call(tmp_path: Path, capsys: CAPTURE) -> None:
    assert main(["t1", str(bare(tmp_path / "series.nii.gz", 4)), "-o", str(tmp_path / "out")]) == 2
    assert "to the command line: --ti S [S ...] --tr S" in capsys.readouterr().err


def test_a_name_that_tells_no_contrast_is_refused(tmp_path: Path, capsys: CAPTURE) -> None:
    files = [str(bare(tmp_path / name)) for name in ("head_T1w.nii.gz", "other.nii.gz")]
    assert main(["maps", *files, "-o", str(tmp_path / "out")]) == 2
    assert "--t1w, --t2w or --flair" in capsys.readouterr().err


def test_subject_of_files_names_their_maps(tmp_path: Path) -> None:
    series = str(bare(tmp_path / "series.nii.gz", 4))
    words = ["r2star", "--mag", series, "--te", "0.004,0.008,0.012,0.016", "-o", str(tmp_path / "out")]
    assert main([*words, "--subject", "ab", "--no-figures", "--no-report", "--quiet"]) in (0, 1)
    written = {path.name for path in (tmp_path / "out").glob("sub-*")}
    assert written <= {"sub-ab"}
