"""What headers and sidecars say beside the times: where the scanner is, and how the signal was read."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.cli.gradient_echoes import (
    AXIAL,
    QUICK,
    TIMES,
    WORDS,
    apart,
    echoes,
    edit_sidecars,
    image,
    remarks,
    run,
    sidecar,
    write_mask,
    write_tree,
)

CAPTURE = pytest.CaptureFixture[str]
TI, TR, SHAPE = (0.05, 0.15, 0.4, 0.8, 1.5, 2.8), 5.0, (8, 6, 4)
T1 = np.where(np.arange(8) < 4, 0.6, 1.2)[:, None, None] * np.ones(SHAPE)
ANGLE = np.radians(30)
TURN = np.array(
    [
        [1, 0, 0, 0],
        [0, np.cos(ANGLE), -np.sin(ANGLE), 0],
        [0, np.sin(ANGLE), np.cos(ANGLE), 0],
        [0, 0, 0, 1],
    ]
)
LEANING = (0.0, float(np.sin(ANGLE)), float(np.cos(ANGLE)))


def give_codes(root: Path, sform_code: int, qform_code: int) -> None:
    """Let the sform of all images be axial, and the qform turned."""
    for path in sorted(root.rglob("*.nii.gz")):
        stored = nib.load(path)
        new = nib.Nifti1Image(np.asarray(stored.dataobj), AXIAL)
        new.header.set_xyzt_units("mm", "sec")
        new.set_sform(AXIAL, sform_code)
        new.set_qform(TURN @ AXIAL, qform_code)
        nib.save(new, path)


def codes_of(out: Path) -> set[tuple[int, int]]:
    headers = [nib.load(path).header for path in out.rglob("sub-*.nii.gz")]
    assert headers
    return {(int(header["sform_code"]), int(header["qform_code"])) for header in headers}


def write_recovery(folder: Path, signal: np.ndarray | None = None, **fields: object) -> Path:
    """Write inversion recovery of 0.6 and 1.2 s as one file; its sform has code 4, its qform 1."""
    noise = np.random.default_rng(1).normal(0, 3, (*SHAPE, len(TI)))
    if signal is None:
        signal = np.stack([1000 * (1 - 2 * np.exp(-t / T1) + np.exp(-TR / T1)) for t in TI], -1)
    folder.mkdir(parents=True, exist_ok=True)
    stored = nib.Nifti1Image(np.abs(signal + noise).astype("f4"), AXIAL)
    stored.set_sform(AXIAL, 4)
    stored.set_qform(TURN @ AXIAL, 1)
    nib.save(stored, folder / "ir.nii.gz")
    known = {"InversionTime": list(TI), "RepetitionTime": TR, "MagneticFieldStrength": 3, **fields}
    (folder / "ir.json").write_text(
        json.dumps({name: value for name, value in known.items() if value is not None})
    )
    return folder / "ir.nii.gz"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"FlipAngle": 90, "ScanningSequence": "EP", "RepetitionTimeExcitation": TR},
        {"FlipAngle": 180, "ScanningSequence": ["SE", "IR"], "EchoTrainLength": 9},
    ],
)
def test_inversion_recovery_read_once_is_mapped_and_keeps_its_header(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    path = write_recovery(tmp_path / "in", **fields)
    assert run("t1", path, "-o", tmp_path / "out", "--method", "ml", *WORDS) == 0
    found = image(tmp_path / "out", "T1map")
    np.testing.assert_allclose(np.nanmedian(found[:4]), 0.6, rtol=0.02)
    np.testing.assert_allclose(np.nanmedian(found[4:]), 1.2, rtol=0.02)
    assert codes_of(tmp_path / "out") == {(4, 1)}
    kept = nib.load(next((tmp_path / "out").rglob("sub-01_T1map.nii.gz")))
    np.testing.assert_allclose(kept.get_sform(), AXIAL, atol=1e-4)
    np.testing.assert_allclose(kept.get_qform(), TURN @ AXIAL, atol=1e-4)


def test_look_locker_is_refused_with_its_reason(tmp_path: Path, capsys: CAPTURE) -> None:
    flip, interval = 10.0, 0.08
    star = 1 / (1 / T1 - np.log(np.cos(np.radians(flip))) / interval)
    level = 1000 * star / T1
    signal = np.stack([level - (1000 + level) * np.exp(-t / star) for t in TI], -1)
    timing = {"RepetitionTime": None, "RepetitionTimePreparation": 6.0}
    path = write_recovery(
        tmp_path / "in", signal, FlipAngle=flip, RepetitionTimeExcitation=interval, **timing
    )
    for words in ((), ("--ti", *TI, "--tr", 6.0)):
        assert run("t1", path, "-o", tmp_path / "out", *words, *WORDS) == 2
        said = capsys.readouterr().err
        assert "Look-Locker" in said and "0.08 s" in said and "10 degrees" in said
    assert run("validate", path) == 2
    assert not list(tmp_path.rglob("*T1map*"))


def test_the_field_is_that_of_the_scanner_where_the_sform_is_aligned(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.nii.gz", affine=TURN @ AXIAL)  # as a program that keeps the qform
    write_tree(tmp_path / "right", echoes(LEANING), {"sub": "01"}, affine=TURN @ AXIAL)
    assert run("qsm", tmp_path / "right", "--mask", mask, "-o", tmp_path / "expected", *QUICK) == 0
    expected = image(tmp_path / "expected", "Chimap")
    root = tmp_path / "bids"
    write_tree(root, echoes(LEANING), {"sub": "01"})
    for code in (2, 4):
        give_codes(root, code, 1)
        out = tmp_path / f"out{code}"
        assert run("qsm", root, "--mask", mask, "-o", out, *QUICK) == 0
        told = sidecar(out)["unweight"]["Settings"]["B0Direction"]
        assert told == pytest.approx(LEANING, abs=1e-5)
        assert apart(image(out, "Chimap"), expected) < 2e-3
        assert codes_of(out) == {(code, 1)}
    assert run("r2star", root, "--mask", mask, "-o", tmp_path / "r2star", *WORDS) == 0
    assert codes_of(tmp_path / "r2star") == {(4, 1)}


def test_a_field_that_no_header_tells_is_asked_for(tmp_path: Path, capsys: CAPTURE) -> None:
    mask = write_mask(tmp_path / "mask.nii.gz")
    root = tmp_path / "bids"
    write_tree(root, echoes(), {"sub": "01"})
    give_codes(root, 4, 0)
    words = ("qsm", root, "--mask", mask, *QUICK)
    assert run(*words, "-o", tmp_path / "asked") == 2
    assert "--b0-direction" in capsys.readouterr().err
    assert run(*words, "-o", tmp_path / "given", "--b0-direction", 0, 0, 1) == 0
    give_codes(root, 2, 0)
    assert run(*words, "-o", tmp_path / "noted") == 0
    assert "the static field is assumed along its z axis" in remarks(tmp_path / "noted")
    assert apart(image(tmp_path / "noted", "Chimap"), image(tmp_path / "given", "Chimap")) == 0


def test_echoes_of_the_other_kind_are_sent_to_their_command(tmp_path: Path, capsys: CAPTURE) -> None:
    root = tmp_path / "bids"
    paths = write_tree(root, echoes(), {"sub": "01"})
    edit_sidecars(root, "*_MEGRE.json", {"ScanningSequence": "SE"})
    assert run("r2star", root, "-o", tmp_path / "out", *WORDS) == 2
    assert "use unweight t2" in capsys.readouterr().err
    assert run("qsm", root, "-o", tmp_path / "out", *WORDS) == 2
    assert "these are spin echoes" in capsys.readouterr().err
    edit_sidecars(root, "*_MEGRE.json", {"ScanningSequence": "GR"})
    magnitudes = [path for path in paths if "part-mag" in path.name]
    assert run("t2", *magnitudes, "-o", tmp_path / "out", *WORDS) == 2
    assert "use unweight r2star" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_parts_whose_sidecars_differ_by_rounding_are_a_pair(tmp_path: Path) -> None:
    mask, root = write_mask(tmp_path / "mask.nii.gz"), tmp_path / "bids"
    write_tree(root, echoes(), {"sub": "01"})
    words = ("qsm", root, "--mask", mask, *QUICK)
    assert run(*words, "-o", tmp_path / "expected") == 0
    expected = image(tmp_path / "expected", "Chimap")
    for number, te in enumerate(TIMES, start=1):
        rounded = {"EchoTime": te + 1.6e-7, "MagneticFieldStrength": 2.95}
        edit_sidecars(root, f"*echo-{number}_part-phase_MEGRE.json", rounded)
        edit_sidecars(
            root, f"*echo-{number}_part-mag_MEGRE.json", {"RepetitionTime": 0.03, "FlipAngle": 15}
        )
    assert run(*words, "-o", tmp_path / "rounded") == 0
    assert apart(image(tmp_path / "rounded", "Chimap"), expected) == 0
    assert "3 T is used" in remarks(tmp_path / "rounded")
    for path in sorted(root.rglob("*part-phase_MEGRE.json")):
        path.unlink()
    assert run(*words, "-o", tmp_path / "absent") == 0
    assert apart(image(tmp_path / "absent", "Chimap"), expected) == 0
    for path in sorted(root.rglob("*_part-mag_MEGRE.*")):
        path.rename(path.with_name(path.name.replace("_part-mag", "")))
    assert run(*words, "-o", tmp_path / "unnamed") == 0
    assert apart(image(tmp_path / "unnamed", "Chimap"), expected) == 0
