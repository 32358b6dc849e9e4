"""`unweight run` with `qsm` and `mprage`: susceptibility is computed once, and the image stays the same."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.gradient_echoes import echoes, sidecar, write_tree
from tests.cli.test_mprage import taught
from tests.cli.test_run import here_instead
from unweight.cli.main import main
from unweight.cli.study import run as module
from unweight.core.errors import InputError
from unweight.learn.training.weights import save_weights
from unweight.mapping.qsm import QsmMapper

CAPTURE = pytest.CaptureFixture[str]
CHI, IMAGE = "sub-01_Chimap.nii.gz", "desc-synth_T1w"
SETTINGS = ("mprage.method=unet", "mprage.no-figures=true", "qsm.no-figures=true", "r2star.no-figures=true")
ALL = ("r2star", "qsm", "mprage")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reused") / "weights"
    save_weights(folder, *taught())
    return folder


@pytest.fixture(scope="module")
def raw(weights: Path) -> Path:
    root = weights.with_name("bids")
    write_tree(root, echoes(), {"sub": "01"})
    return root


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_locally", here_instead)


def call(raw: Path, out: Path, weights: Path, only: Sequence[str], *more: str) -> int:
    words = [word for setting in (*SETTINGS, f"mprage.weights={weights}") for word in ("--set", setting)]
    words += ["--memory", "4", "--no-report", *more]
    return main(["run", str(raw), str(out), "participant", "--only", *only, *words])


@pytest.fixture(scope="module")
def alone(raw: Path, weights: Path) -> Path:
    """What `mprage` makes when nothing else is asked for."""
    out = weights.with_name("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run_locally", here_instead)
        assert call(raw, out, weights, ("mprage",)) == 0
    return out


def settings_in(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = sidecar(out, IMAGE)["unweight"]["Settings"]
    return found


def images(out: Path) -> dict[str, str]:
    """Return the SHA-256 of each image of the set of `mprage`."""
    found: dict[str, str] = sidecar(out, IMAGE)["unweight"]["SHA256"]
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_map_of_the_run_is_used_and_the_image_is_the_same(
    raw: Path, weights: Path, alone: Path, tmp_path: Path, capsys: CAPTURE
) -> None:
    assert call(raw, tmp_path, weights, ALL) == 0
    assert settings_in(tmp_path)["Given"] == {"Chi": f"sha256:{digest(tmp_path / 'sub-01/anat' / CHI)}"}
    assert settings_in(tmp_path)["Conditions"] == {"R2star": "computed from the echoes", "Chi": "given"}
    assert images(tmp_path) == images(alone)
    assert sidecar(tmp_path, IMAGE)["Sources"] == sidecar(alone, IMAGE)["Sources"]
    capsys.readouterr()
    assert call(raw, tmp_path, weights, ALL) == 0
    assert "0 steps done, 3 were complete before" in capsys.readouterr().out


def test_without_qsm_the_image_has_its_own_map(alone: Path) -> None:
    assert settings_in(alone)["Given"] == {}
    assert set(settings_in(alone)["Conditions"].values()) == {"computed from the echoes"}
    assert not list(alone.rglob(CHI))


def test_a_map_of_other_images_is_not_used_where_qsm_fails(
    raw: Path,
    weights: Path,
    alone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: CAPTURE,
) -> None:
    """The results hold a complete map of other echoes under the same names; then `qsm` succeeds again."""
    other, out = tmp_path / "bids", tmp_path / "maps"
    write_tree(other, 2 * echoes().conj(), {"sub": "01"})
    assert call(other, out, weights, ("qsm",)) == 0
    before = digest(out / "sub-01/anat" / CHI)

    def fail(*_: object) -> None:
        raise InputError("no phase today")

    with monkeypatch.context() as patch:
        patch.setattr(QsmMapper, "estimate", fail)
        assert call(raw, out, weights, ("qsm", "mprage")) == 1
    assert "no phase today" in capsys.readouterr().err
    assert digest(out / "sub-01/anat" / CHI) == before
    assert settings_in(out)["Given"] == {} and images(out) == images(alone)
    assert call(raw, out, weights, ("qsm", "mprage")) == 0
    assert "1 steps done, 1 were complete before" in capsys.readouterr().out
    assert digest(out / "sub-01/anat" / CHI) != before


def test_the_plan_names_the_map(raw: Path, weights: Path, tmp_path: Path, capsys: CAPTURE) -> None:
    assert call(raw, tmp_path / "maps", weights, ALL, "--dry-run") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "mprage uses the map of qsm of this run (--chi)" in text
    assert CHI in text
    assert call(raw, tmp_path / "maps", weights, ("r2star", "mprage"), "--dry-run") == 0
    assert "--chi" not in capsys.readouterr().out
    assert call(raw, tmp_path / "maps", weights, ALL, "--dry-run", "--set", "qsm.inversion=tkd") == 0
    assert "--chi" not in capsys.readouterr().out


def test_magnitudes_alone_use_no_map(weights: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "bids", echoes().abs(), {"sub": "01"})
    out = tmp_path / "maps"
    assert call(tmp_path / "bids", out, weights, ALL) == 0
    assert settings_in(out)["Conditions"] == {"R2star": "computed from the echoes", "Chi": "not used"}
    record = json.loads((out / "logs/steps/sub-01_mprage.json").read_text())
    assert "--chi" not in record["command"] and "--no-phase" in record["command"]
