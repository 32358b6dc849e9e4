"""Every command that the documentation tells is one that the parser takes; quick ones are carried out."""

import shutil
from pathlib import Path

import pytest

from tests.docs.documented import Told, inline_commands, told_commands
from tests.docs.inputs import make_inputs, make_maps, make_phantom
from unweight.cli.catalogue import COMMANDS
from unweight.cli.main import main, parse

TOLD = told_commands()
# What makes a command small enough, by its first words; the last of two equal options counts.
TOY = {
    "t1": "--no-figures",
    "maps": "--no-figures",
    "t2": "--no-figures",
    "fit": "--no-figures",
    "vfa": "--no-figures",
    "r2star": "--no-figures",
    "qsm": "--no-figures",
    "mprage": "--no-figures",
    "contrast": "--no-figures --no-report",
    "run": "--only t1 --set t1.method=ml --workers 1 --memory 8 --no-report",
    "simulate": "--n-subjects 1 --slices 1",
    "evaluate": "--quick",
    "train": "--steps 2 --slabs 2 --workers 1 --n-subjects 1 1",
}
# Heads of BrainWeb are not everybody's, nor is a cluster; minutes of training are nobody's in a test.
NOT_RUN = (*("brainweb_folder", "train mprage", "train structures", "--cluster", "--scheduler"),)
SLOW = (
    "evaluate",
    "train",
    "demo",
    "phantom",
    "--method fastddpm",
    "--workers",
    "--config",
    "participant --participant-label",
    "maps group",
    "derivatives group",
)
# What stands for a name that means something else with another command.
STANDS_FOR = {
    "t2": {"dicom_folder": "mese_folder"},
    "maps": {"dicom_folder": "exam_folder"},
    "fit": {
        "a.nii.gz": "angle3.nii.gz",
        "b.nii.gz": "angle20.nii.gz",
        "vfa_study/bids": "bids_tree",
    },
    "contrast": {"maps": "weighted_maps"},
    "phantom": {"dicom_folder": "demo/bids", "maps": "demo/maps"},
    "evaluate": {"dicom_folder": "demo/bids"},
    "report": {"maps": "made", "derivatives": "made"},
    "cite": {"maps": "made"},
    "group": {"maps": "made", "derivatives": "made"},
}
STAND_INS = {
    **{f"sub-01_{name}.nii.gz": f"{name}.nii.gz" for name in ("T1w", "T2w", "FLAIR")},
    "maps/sub-001/anat/sub-001_T1map.nii.gz": "labels.nii.gz",
    "maps/sub-01/anat/sub-01_Chimap.nii.gz": "labels.nii.gz",
    "sub-1_T1map.nii.gz": "labels.nii.gz",
    "sub-1_dseg.nii.gz": "dseg.nii.gz",
    "segmented/sub-1/anat/sub-1_desc-T1w_dseg.nii.gz": "dseg.nii.gz",
}


def distinct() -> list[Told]:
    """The same command told twice is carried out once; a comment makes no difference."""
    return list({" ".join(one.words): one for one in TOLD}.values())


def runnable() -> list[object]:
    """Commands to carry out, the long ones marked."""
    chosen = []
    for one in distinct():
        line = " ".join(one.words)
        if any(name in f"{line} " for name in NOT_RUN):
            continue
        marks = [pytest.mark.slow] if any(name in line for name in SLOW) else []
        chosen.append(pytest.param(one, id=line, marks=marks))
    return chosen


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("documented")
    make_inputs(root)
    return root


def test_there_are_commands_to_look_at() -> None:
    assert len(TOLD) > 40
    told = {one.words[0] for one in TOLD}
    assert set(COMMANDS) <= told, f"not documented: {set(COMMANDS) - told}"


@pytest.mark.parametrize("told", TOLD, ids=lambda one: f"{one.where}: {one.line[:70]}")
def test_the_parser_takes_it(told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        parse(told.words)
    except SystemExit:
        pytest.fail(f"{told.where} tells `{told.line}`: {capsys.readouterr().err}")


@pytest.mark.parametrize("told", inline_commands(), ids=lambda one: f"{one.where}: {one.line[:70]}")
def test_options_in_running_text_exist(told: Told) -> None:
    name = told.words[0]
    known = {option for one in COMMANDS[name].arguments for option in one.names} | {"--help"}
    assert {word for word in told.words if word.startswith("--")} <= known


@pytest.mark.parametrize("told", runnable())
def test_it_is_carried_out(
    told: Told,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = told.words
    if "--minutes" in words:
        at = words.index("--minutes")
        words = words[:at] + words[at + 2 :]
    if words[0] == "phantom" or "--phantom" in words:
        make_phantom(inputs)
    if words[0] in ("report", "cite") or "group" in words:
        make_maps(inputs)
    bring(words, inputs, tmp_path)
    monkeypatch.chdir(tmp_path)
    if words[:2] == ["t1", "scan.nii.gz"]:
        words = [word for word in words if word not in ("--weights", "weights")]  # as if they were trained
    extra = TOY.get(words[0], "").split()
    if words[0] == "train" and not {"mprage", "structures"} & set(words):
        extra = without(extra, "--n-subjects", 2)
    assert main([*words, *extra]) == 0, capsys.readouterr().err


def without(words: list[str], option: str, n: int) -> list[str]:
    if option not in words:
        return words
    at = words.index(option)
    return words[:at] + words[at + 1 + n :]


def bring(words: list[str], inputs: Path, here: Path) -> None:
    """Copy what a command names, under the name it has there."""
    stands_for = STAND_INS | STANDS_FOR.get("group" if "group" in words else words[0], {})
    for word in (text.removeprefix("B1=") for text in words[1:]):
        source = inputs / stands_for.get(word, word)
        target = here / word
        if word.startswith("-") or not source.exists() or target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
            if (sidecar := source.with_name(source.name.replace(".nii.gz", ".json"))).exists():
                shutil.copy(sidecar, target.with_name(sidecar.name))
