"""T1w images made by a network of three steps, from the echoes of a small head."""

import hashlib
import html
import json
import math
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.bids.validator import validator_errors
from tests.cli.gradient_echoes import (
    AXIAL,
    QUICK,
    TIMES,
    WORDS,
    Array,
    apart,
    assert_same_bytes,
    echoes,
    edit_sidecars,
    head,
    image,
    run,
    sidecar,
    store,
    texts,
    write_mask,
    write_tree,
)
from tests.learn.mprage.test_methods_training import PARTS, tiny
from tests.learn.names import T1W_UNET
from unweight.bids.derivatives.write import is_complete
from unweight.core.maps import VoxelStatus
from unweight.learn.training.model_card import Card
from unweight.learn.training.trainer import train_model
from unweight.learn.training.weights import load_weights, save_weights
from unweight.mapping.inputs import SeriesInput
from unweight.mapping.mprage import MprageOptions

TIMED = ("--te", *TIMES, "--tr", 0.036, "--flip", 15)
CAPTURE = pytest.CaptureFixture[str]
IMAGE, STD = "desc-synth_T1w", "desc-std_T1w"
BRAIN, STATUS, INVALID = "desc-T1wbrain_mask", "desc-T1wstatus_dseg", "desc-T1winvalid_mask"
SPREAD_AT_0 = math.sqrt(2) * 0.35  # of a network that says ln b = 0, before calibration


@cache
def taught() -> tuple[dict[str, Tensor], Card]:
    found = train_model(tiny(T1W_UNET), PARTS, device=torch.device("cpu"))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mprage") / "weights"
    save_weights(folder, *taught())
    return folder


@pytest.fixture(scope="module")
def tree(weights: Path) -> Path:
    root = weights.with_name("bids")
    write_tree(root, echoes(), {"sub": "01"})
    edit_sidecars(root, "*_MEGRE.json", {"PatientName": "Smith^John", "Manufacturer": "GE"})
    return root


@pytest.fixture(scope="module")
def mask(weights: Path) -> str:
    return write_mask(weights.with_name("mask.nii.gz"))


@pytest.fixture(scope="module")
def before(tree: Path) -> Mapping[Path, bytes]:
    return contents(tree)


@pytest.fixture(scope="module")
def made(tree: Path, weights: Path, before: Mapping[Path, bytes]) -> Path:
    """What a plain call makes: brain, R2* and susceptibility are found, and a picture is drawn."""
    assert before
    out = weights.with_name("made")
    assert make(tree, "-o", out, "--quiet", weights=weights) == 0
    return out


@pytest.fixture(scope="module")
def alone(tree: Path, mask: str, weights: Path) -> Path:
    """What is made of the magnitudes alone, which takes least time."""
    out = weights.with_name("alone")
    assert make(tree, "-o", out, "--no-phase", "--mask", mask, *WORDS, weights=weights) == 0
    return out


def make(*words: object, weights: Path) -> int:
    return run("mprage", *words, "--method", "unet", "--weights", weights)


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def told(out: Path) -> dict[str, object]:
    found: dict[str, object] = sidecar(out, IMAGE)["unweight"]
    return found


def remarks(out: Path) -> str:
    return " ".join(sidecar(out, IMAGE)["unweight"]["Remarks"])


def test_the_files_of_the_set(made: Path) -> None:
    stems = (IMAGE, STD, STATUS, INVALID, BRAIN)
    files = {f"sub-01_{stem}{ending}" for stem in stems for ending in (".nii.gz", ".json")}
    folder = made / "sub-01" / "anat"
    assert {path.name for path in folder.iterdir()} == files | {f"sub-01_{STATUS}.tsv"}
    assert is_complete(made, {"sub": "01"}, "T1w", "synth")
    assert set(told(made)["SHA256"]) == {f"sub-01_{stem}.nii.gz" for stem in stems}  # type: ignore[call-overload]


def test_zero_outside_the_brain_and_a_number_inside(made: Path) -> None:
    values, brain = image(made, IMAGE), image(made, BRAIN) > 0
    assert np.isfinite(values).all() and not values[~brain].any()
    assert (values[brain] > 0).all() and values[brain].std() > 0
    deviation = image(made, STD)
    assert np.array_equal(np.isfinite(deviation), brain) and (deviation[brain] > 0).all()
    status = image(made, STATUS)
    assert (status[~brain] == VoxelStatus.MASKED).all()
    assert set(np.unique(status[brain])) <= {VoxelStatus.OK, VoxelStatus.AT_LIMIT}
    overlap = 2 * (brain & head().brain.numpy()).sum() / (brain.sum() + head().brain.sum())
    # A layer of 2 mm is taken off, half a voxel here.
    assert overlap > 0.85


def test_what_the_sidecar_says(made: Path, weights: Path) -> None:
    fields, card = sidecar(made, IMAGE), load_weights(T1W_UNET, weights)[1]
    assert fields["Sources"] == [
        f"bids:raw:sub-01/anat/sub-01_echo-{echo}_part-{part}_MEGRE.nii.gz"
        for part in ("mag", "phase")
        for echo in range(1, 5)
    ]
    assert fields["SkullStripped"] is True and fields["Units"] == "arbitrary"
    assert (fields["MagneticFieldStrength"], fields["Manufacturer"]) == (3, "GE")
    assert "not measured" in fields["Description"]
    # They would be taken for those of an MPRAGE.
    assert not {"EchoTime", "FlipAngle", "RepetitionTime", "ScanningSequence"} & fields.keys()
    own = fields["unweight"]
    assert own["Protocol"]["echo_time"] == pytest.approx(TIMES)
    settings = own["Settings"]
    assert (settings["Weights"], settings["WeightsSHA256"]) == (T1W_UNET, card.sha256)
    assert (settings["TrainedOn"], settings["Draws"]) == (card.trained_on, 0)
    assert own["Notes"] == {"told_r2star": 1, "told_chi": 1}
    assert card.limits in own["Remarks"]
    assert "voxels of 4 x 4 x 4 mm; the network was trained with 1 to 1.5 mm" in remarks(made)
    assert "no phase" not in remarks(made)


def test_a_picture_of_its_own(made: Path, alone: Path) -> None:
    (picture,) = made.rglob("*.png")
    assert picture == made / "sub-01" / "figures" / f"sub-01_{IMAGE}.png"
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert not list(alone.rglob("*.png"))


def test_nothing_is_written_into_the_tree(tree: Path, made: Path, before: Mapping[Path, bytes]) -> None:
    assert made.exists() and contents(tree) == before


def test_nothing_private_and_no_path_in_any_file(made: Path, tree: Path) -> None:
    for word in ("Smith", str(tree.parent)):
        assert not [path for path, text in texts(made).items() if word in text], word


def test_derivatives_pass_the_validator(made: Path) -> None:
    assert validator_errors(made) == []


def test_same_input_same_bytes(tree: Path, mask: str, alone: Path, weights: Path) -> None:
    again = alone.with_name("again")  # the way to the tree is told, so both lie beside it
    assert make(tree, "-o", again, "--no-phase", "--mask", mask, *WORDS, weights=weights) == 0
    assert_same_bytes(alone, again)


def test_without_phase_there_is_no_susceptibility(alone: Path, made: Path) -> None:
    assert told(alone)["Notes"] == {"told_r2star": 1, "told_chi": 0}
    assert "no phase: the image is synthesised without susceptibility" in remarks(alone)
    assert not any("part-phase" in one for one in sidecar(alone, IMAGE)["Sources"])
    assert np.array_equal(image(alone, BRAIN) > 0, head().brain.numpy())
    both = (image(alone, IMAGE) > 0) & (image(made, IMAGE) > 0)
    assert np.abs(image(alone, IMAGE) - image(made, IMAGE))[both].max() > 1e-3


def test_a_network_that_says_nothing_makes_the_middle(
    tree: Path, mask: str, weights: Path, tmp_path: Path
) -> None:
    """ŷ = 0 is 0.7, and ln b = 0 a deviation of √2·0.35 times the factor of the calibration."""
    tensors, card = load_weights(T1W_UNET, weights)
    nothing = {name: torch.zeros_like(one) for name, one in tensors.items()}
    save_weights(tmp_path / "weights", nothing, card)
    words = (tree, "-o", tmp_path / "out", "--no-phase", "--mask", mask, *WORDS)
    assert make(*words, weights=tmp_path / "weights") == 0
    brain = head().brain.numpy()
    assert image(tmp_path / "out", IMAGE) == pytest.approx(0.7 * brain, abs=1e-6)
    expected = SPREAD_AT_0 * card.calibration["spread"]
    assert image(tmp_path / "out", STD)[brain] == pytest.approx(expected, rel=1e-5)


def test_maps_that_are_given_are_used(
    tree: Path, mask: str, alone: Path, weights: Path, tmp_path: Path
) -> None:
    """The echoes have no noise, so the true R2* is the one that is made; χ counts but for its median."""
    rate, chi = head().r2star.float().numpy(), head().chi.float().numpy()
    given = {
        "true": ("--r2star", store(tmp_path / "r2star.nii.gz", rate)),
        "double": ("--r2star", store(tmp_path / "double.nii.gz", 2 * rate)),
        "chi": ("--chi", store(tmp_path / "chi.nii.gz", chi)),
        "shifted": ("--chi", store(tmp_path / "shifted.nii.gz", chi + 5)),
    }
    found = {}
    for name, words in given.items():
        out = tmp_path / name
        plain = (tree, "-o", out, "--no-phase", "--mask", mask, *WORDS)
        assert make(*plain, *words, weights=weights) == 0
        found[name] = image(out, IMAGE)
    assert apart(found["true"], image(alone, IMAGE)) < 1e-3
    assert apart(found["double"], image(alone, IMAGE)) > 1e-3
    assert apart(found["chi"], image(alone, IMAGE)) > 1e-3
    # Float32 knows 5 ppm to 0.5 ppb.
    assert apart(found["shifted"], found["chi"]) < 1e-4
    assert told(tmp_path / "chi")["Notes"] == {"told_r2star": 1, "told_chi": 1}
    assert "no phase: the image" not in remarks(tmp_path / "chi")


def test_conditions_can_be_left_out(
    tree: Path, mask: str, alone: Path, weights: Path, tmp_path: Path
) -> None:
    words = (tree, "--mask", mask, *WORDS, "--without")
    assert make(*words, "chi", "-o", tmp_path / "one", weights=weights) == 0
    assert apart(image(tmp_path / "one", IMAGE), image(alone, IMAGE)) < 1e-5
    assert told(tmp_path / "one")["Notes"] == {"told_r2star": 1, "told_chi": 0}
    assert make(*words, "r2star", "chi", "-o", tmp_path / "none", weights=weights) == 0
    assert told(tmp_path / "none")["Notes"] == {"told_r2star": 0, "told_chi": 0}
    assert apart(image(tmp_path / "none", IMAGE), image(alone, IMAGE)) > 1e-3


def test_a_map_on_another_grid_is_refused(
    tree: Path, mask: str, weights: Path, tmp_path: Path, capsys: CAPTURE
) -> None:
    elsewhere = AXIAL.copy()
    elsewhere[0, 3] += 5
    chi = head().chi.float().numpy()
    moved = store(tmp_path / "moved.nii.gz", chi, elsewhere)
    series = store(tmp_path / "series.nii.gz", np.stack([chi, chi], axis=-1))
    words = (tree, "-o", tmp_path / "out", "--no-phase", "--mask", mask, *WORDS)
    assert make(*words, "--chi", moved, weights=weights) == 2
    assert "moved.nii.gz: is at a different position than sub-01_echo-1" in capsys.readouterr().err
    assert make(*words, "--r2star", series, weights=weights) == 2
    assert "series.nii.gz: has 4 dimensions" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def files(weights: Path) -> tuple[Path, Path]:
    folder = weights.with_name("files")
    magnitude = store(folder / "mag.nii.gz", echoes().abs().numpy())
    return magnitude, store(folder / "phase.nii.gz", echoes().angle().numpy())


def test_files_make_what_the_tree_makes(
    files: tuple[Path, Path], mask: str, made: Path, alone: Path, weights: Path, tmp_path: Path
) -> None:
    """With phase at three teslas, and without, where no field strength is needed."""
    magnitude, phase = files
    words = ("--mag", magnitude, *TIMED, *WORDS)
    assert make(*words, "--mask", mask, "-o", tmp_path / "alone", weights=weights) == 0
    assert apart(image(tmp_path / "alone", IMAGE), image(alone, IMAGE)) < 1e-6
    assert "no phase: the image" in remarks(tmp_path / "alone")
    words = (*words, "--phase", phase, "--field", 3)
    assert make(*words, "-o", tmp_path / "both", weights=weights) == 0
    assert apart(image(tmp_path / "both", IMAGE), image(made, IMAGE)) < 1e-3
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    assert sidecar(tmp_path / "both", IMAGE)["Sources"] == [f"sha256:{one}" for one in digests]
    assert told(tmp_path / "both")["Notes"] == {"told_r2star": 1, "told_chi": 1}


def turned(values: Array) -> Array:
    """Stored by sagittal slices, from the top down."""
    order = (1, 2, 0, *range(3, values.ndim))
    return np.ascontiguousarray(values.transpose(order)[:, ::-1])


def test_the_axes_of_files_do_not_matter(alone: Path, weights: Path, tmp_path: Path) -> None:
    magnitude, brain = turned(echoes().abs().numpy()), turned(head().brain.numpy())
    flip = np.diag([1.0, -1, 1, 1])
    flip[1, 3] = magnitude.shape[1] - 1
    affine = AXIAL[:, [1, 2, 0, 3]] @ flip
    stored = store(tmp_path / "mag.nii.gz", magnitude, affine)
    own = write_mask(tmp_path / "mask.nii.gz", torch.from_numpy(brain.copy()), affine)
    words = ("--mag", stored, *TIMED, "--mask", own, "-o", tmp_path / "out", *WORDS)
    assert make(*words, weights=weights) == 0
    for ending in (IMAGE, STD):
        assert apart(image(tmp_path / "out", ending), turned(image(alone, ending))) < 1e-4


def test_another_field_is_refused(
    files: tuple[Path, Path], tree: Path, mask: str, weights: Path, tmp_path: Path, capsys: CAPTURE
) -> None:
    """Among several series the others are made."""
    words = ("--mag", files[0], *TIMED, "--mask", mask, "-o", tmp_path / "out", *WORDS)
    assert make(*words, "--field", 1.5, weights=weights) == 2
    said = capsys.readouterr().err
    assert "echoes at 1.5 T (the network was trained at 3 T)" in said and "--any-scan" in said
    assert not (tmp_path / "out").exists()
    root = shutil.copytree(tree, tmp_path / "bids")
    write_tree(root, echoes().abs(), {"sub": "00"})
    edit_sidecars(root, "sub-00*_MEGRE.json", {"MagneticFieldStrength": 1.5})
    words = (root, "-o", tmp_path / "out", "--no-phase", "--mask", mask, *WORDS)
    assert make(*words, weights=weights) == 1
    assert "1 of 2 series failed: sub-00_MEGRE" in capsys.readouterr().err
    assert is_complete(tmp_path / "out", {"sub": "01"}, "T1w", "synth")
    assert not (tmp_path / "out" / "sub-00").exists()


@pytest.mark.parametrize(
    ("given", "asked", "spared"),
    [
        ((), ("--flip DEG", "--tr S"), ()),
        (("--tr", 0.036), ("FlipAngle", "--flip"), ("--tr",)),
        (("--flip", 15), ("RepetitionTime", "--tr"), ("--flip",)),
    ],
)
def test_flip_angle_and_tr_are_asked_for(
    files: tuple[Path, Path],
    mask: str,
    weights: Path,
    tmp_path: Path,
    capsys: CAPTURE,
    given: tuple[object, ...],
    asked: tuple[str, ...],
    spared: tuple[str, ...],
) -> None:
    words = ("--mag", files[0], "--te", *TIMES, *given, "--mask", mask, "-o", tmp_path / "out", *WORDS)
    assert make(*words, weights=weights) == 2
    text = capsys.readouterr().err
    assert all(word in text for word in asked) and not any(word in text for word in spared)
    assert not (tmp_path / "out").exists()


def test_scans_outside_the_training_are_refused_or_marked(
    tree: Path, mask: str, weights: Path, tmp_path: Path, capsys: CAPTURE
) -> None:
    out = tmp_path / "out"
    words = (tree, "-o", out, "--no-phase", "--mask", mask, "--flip", 6, "--quiet")
    assert make(*words, weights=weights) == 2
    sentence = "a flip angle of 6 degrees (the network was trained at 10 to 20 degrees)"
    assert sentence in capsys.readouterr().err
    assert not out.exists()
    assert make(*words, "--any-scan", weights=weights) == 0
    status, brain = image(out, STATUS), image(out, BRAIN) > 0
    assert (status[brain] == VoxelStatus.AT_LIMIT).all()
    assert sentence in told(out)["Notes"]["every_voxel_marked"]  # type: ignore[index]
    assert f"every voxel is flagged: {sentence}" in remarks(out)
    assert sentence in html.unescape((out / "sub-01.html").read_text())


def test_the_method_for_a_scan_is_named(tree: Path, mask: str, tmp_path: Path, capsys: CAPTURE) -> None:
    words = (tree, "-o", tmp_path / "out", "--no-phase", "--mask", mask, "--quiet", "--method", "unet")
    assert run("mprage", *words, "--flip", 6) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "a flip angle of 6 degrees" in said and "Use --method conditioned" in said
    assert run("mprage", *words, "--flip", 2) == 2
    assert "conditioned" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_which_method_is_the_default(tmp_path: Path, weights: Path) -> None:
    def chosen(**options: object) -> str:
        return MprageOptions(images=SeriesInput(inputs=(tmp_path,)), **options).chosen.name  # type: ignore[arg-type]

    assert chosen() == "unet"
    assert chosen(draws=0) == chosen(draws=2) == chosen(planes="alternate") == "residual"
    assert chosen(weights=weights) == "unet"  # the only weights in the folder
    assert chosen(weights=tmp_path) == "unet"  # whose absence is reported
    assert chosen(method="gan") == "gan"


def test_auto_takes_the_method_for_the_scan(tree: Path, mask: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("mprage", tree, "-o", out, "--no-phase", "--mask", mask, "--flip", 8, *WORDS) == 0
    assert told(out)["Settings"]["Weights"] == "mprage-conditioned"  # type: ignore[index]


def test_images_of_other_sources_are_not_overwritten(
    files: tuple[Path, Path], tree: Path, mask: str, weights: Path, tmp_path: Path, capsys: CAPTURE
) -> None:
    words = ("--mask", mask, "-o", tmp_path / "out", "--no-phase", "--quiet")
    assert make(tree, *words, weights=weights) == 0
    kept = contents(tmp_path / "out")
    assert any(path.suffix == ".png" for path in kept)
    assert make("--mag", files[0], *TIMED, *words, weights=weights) == 3
    assert "already holds maps of other images under the name sub-01" in capsys.readouterr().err
    assert contents(tmp_path / "out") == kept
    assert make(tree, *words, "--no-figures", weights=weights) == 0
    assert not list((tmp_path / "out").rglob("*.png"))


def test_susceptibility_shares_the_folder(tree: Path, mask: str, alone: Path, tmp_path: Path) -> None:
    out = shutil.copytree(alone, tmp_path / "out")
    assert run("qsm", tree, "--mask", mask, "-o", out, *QUICK) == 0
    assert is_complete(out, {"sub": "01"}, "T1w", "synth")
    assert is_complete(out, {"sub": "01"}, "Chimap")


def test_what_is_said(tree: Path, mask: str, weights: Path, tmp_path: Path, capsys: CAPTURE) -> None:
    words = (tree, "-o", tmp_path / "out", "--no-phase", "--mask", mask, "--no-figures")
    assert make(*words, weights=weights) == 0
    said = capsys.readouterr().out.replace("\n", "")
    for part in (
        *("sub-01_MEGRE: mprage-unet, about ", "note: no phase", "T1w of usable voxels"),
        str(tmp_path / "out" / "sub-01" / "anat" / f"sub-01_{IMAGE}.nii.gz"),
    ):
        assert part in said
    assert make(*words, "--quiet", weights=weights) == 0
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give either a BIDS dataset, a folder or files, or --mag (with --phase)"),
        (("TREE", "--mag", "a.nii"), "give either a BIDS dataset"),
        (("--phase", "a.nii"), "give either a BIDS dataset"),
        (("TREE", "--phase", "a.nii"), "give either a BIDS dataset"),
        (("--mag", "a.nii", "--phase", "b.nii", "--no-phase"), "--phase and --no-phase cannot be combined"),
        (("TREE", "--draws", "2"), "--draws does not apply to unet"),
        (("TREE", "--method", "gan", "--draws", "2"), "--draws does not apply to gan"),
        (("TREE", "--method", "fastddpm"), "there are no weights called mprage-fastddpm"),
        (("--mag", "a.nii", "--te", "0.004"), "there is no such file"),
        (("TREE", "--chi", "a.nii", "--no-phase"), "there is no such file"),
        (("TREE", "--subjects", "99"), "99"),
    ],
)
def test_wrong_calls_say_what_to_do(
    tree: Path, weights: Path, tmp_path: Path, capsys: CAPTURE, words: tuple[str, ...], message: str
) -> None:
    called = [str(tree) if word == "TREE" else word for word in words]
    method = () if "--method" in words else ("--method", "unet")
    assert run("mprage", *called, *method, "--weights", weights, "-o", tmp_path / "out", *WORDS) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_damaged_weights_are_not_used(tree: Path, weights: Path, tmp_path: Path, capsys: CAPTURE) -> None:
    folder = shutil.copytree(weights, tmp_path / "weights")
    card = folder / f"{T1W_UNET}.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"sha256": "0" * 64}))
    assert make(tree, "-o", tmp_path / "out", *WORDS, weights=folder) == 2
    assert "is damaged, or does not match its card" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
