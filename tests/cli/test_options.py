"""Options of the commands: typed, old spellings noted, lists with commas, a command in one file."""

import argparse
import sys
from pathlib import Path

import pytest

from tests.cli.outcome import called
from unweight.cli.arguments import COMMON, renamed, separated
from unweight.cli.catalogue import COMMANDS
from unweight.cli.main import main, parse, parser
from unweight.cli.options import MappingOutput, Verbosity, names_of, options_of
from unweight.cli.study.options import RunOptions, SlurmOptions
from unweight.cli.study.settings import read_settings
from unweight.mapping.qsm import QsmOptions
from unweight.mapping.t1 import T1Options
from unweight.registry import load

CAPTURE = pytest.CaptureFixture[str]
MAPPING = [name for name, command in COMMANDS.items() if command.mapping]
SERIES = ("fit", "t1", "r2star", "t2", "qsm", "mprage", "vfa")


@pytest.mark.parametrize("command", MAPPING)
def test_every_argument_of_a_mapping_command_is_an_option(command: str) -> None:
    taken = names_of(load(COMMANDS[command].mapping)) | names_of(MappingOutput)
    given = {entry.dest for entry in (*COMMANDS[command].arguments, *COMMON)}
    assert given <= taken, given - taken


def test_run_and_slurm_take_what_their_parsers_do() -> None:
    for command, options in (("run", RunOptions), ("slurm", SlurmOptions)):
        given = {entry.dest for entry in (*COMMANDS[command].arguments, *COMMON)}
        assert given <= names_of(options), given - names_of(options)


@pytest.mark.parametrize("command", MAPPING)
def test_all_mapping_commands_name_images_and_output_alike(command: str) -> None:
    spellings = {name for entry in COMMANDS[command].arguments for name in entry.names}
    assert {"inputs", "-o", "--out", "--subjects", "--subject", "--mask", "--device"} <= spellings
    if command in SERIES:
        assert {"--series", "--te"} <= spellings
    if command in ("qsm", "mprage"):
        phase = {"--phase-range", "--phase-full-range", "--invert-phase", "--b0-direction", "--field"}
        assert phase | {"--mag", "--phase"} <= spellings
    if command in ("r2star", "t2"):
        assert "--mag" in spellings


def test_a_namespace_becomes_frozen_options() -> None:
    words = ["qsm", "--mag", "a.nii", "--phase", "b.nii", "-o", "out", "--te", "0.004,0.008", "0.012"]
    arguments = parse([*words, "--phase-range=-4096,4095", "--b0-direction", "-0.1,0,1"])
    options = options_of(QsmOptions, arguments)
    assert options.images.echo_time == (0.004, 0.008, 0.012)
    assert options.images.phase_range == (-4096.0, 4095.0)
    assert options.b0_direction == (-0.1, 0.0, 1.0)
    assert options.images.magnitude_images == (Path("a.nii"),)
    assert options_of(MappingOutput, arguments).verbosity == Verbosity()
    with pytest.raises(AttributeError):
        options.device = "cuda"  # type: ignore[misc]


def test_ranges_of_series_are_numbers_in_order() -> None:
    options = options_of(T1Options, parse(["t1", "dicom", "-o", "out", "--series", "8-10,3", "12"]))
    assert options.images.series == (8, 9, 10, 3, 12)


def test_what_a_command_does_not_take_is_a_fault() -> None:
    with pytest.raises(TypeError, match="MappingOutput needs out"):
        options_of(MappingOutput, argparse.Namespace(quiet=True, debug=False))


@pytest.mark.parametrize(
    ("words", "separate"),
    [
        (("--ti", "0.05,0.4,", "1.1"), ("--ti", "0.05", "0.4", "1.1")),
        (("--ti=0.05,0.4", "--signed", "a,b.nii"), ("--ti", "0.05", "0.4", "--signed", "a,b.nii")),
        (("--mask", "a,b.nii"), ("--mask", "a,b.nii")),
        (("--subjects", "01,02", "-o", "a,b"), ("--subjects", "01", "02", "-o", "a,b")),
        (("a,b.nii", "c.nii"), ("a,b.nii", "c.nii")),
    ],
)
def test_lists_may_have_commas_and_names_of_files_keep_them(
    words: tuple[str, ...], separate: tuple[str, ...]
) -> None:
    assert tuple(separated(words, COMMANDS["t1"].arguments)) == separate


OLD = [
    (name, entry.old, entry.names[-1])
    for name, command in COMMANDS.items()
    for entry in command.arguments
    if entry.old
]


def test_names_that_collided_have_an_old_spelling() -> None:
    assert {
        ("evaluate", "--bids", "--test-bids-dir"),
        ("evaluate", "--heads", "--brainweb-dir"),
        ("evaluate", "--people", "--n-subjects"),
        ("evaluate", "--sets", "--datasets"),
        ("mprage", "--without", "--drop-condition"),
        ("phantom", "--version", "--phantom-version"),
        ("run", "--labels", "--labels-dir"),
        ("simulate", "--heads", "--brainweb-dir"),
        ("simulate", "--labels", "--label-map"),
        ("simulate", "--subjects", "--n-subjects"),
        ("train", "--bids", "--bids-dir"),
        ("train", "--heads", "--brainweb-dir"),
        ("train", "--labels", "--labels-dir"),
        ("train", "--like", "--protocol-from"),
        ("train", "--people", "--n-subjects"),
    } <= set(OLD)


@pytest.mark.parametrize(("command", "old", "new"), OLD)
def test_an_old_spelling_is_taken_and_noted(command: str, old: str, new: str) -> None:
    words, notes = renamed([command, f"{old}=x", "--other", old], COMMANDS[command].arguments)
    assert words == [command, f"{new}=x", "--other", new]
    assert len(notes) == 2 and f"{old} is now called {new}" in notes[0]


def test_a_call_with_an_old_spelling_runs(tmp_path: Path, capsys: CAPTURE) -> None:
    assert main(["phantom", str(tmp_path), "--version", "2"]) == 2  # nothing there
    printed = capsys.readouterr().err
    assert "unweight phantom: --version is now called --phantom-version" in printed
    assert "contains no T1map" in printed
    assert parse(["phantom", "maps", "--version=1"]).version == 1


def test_settings_with_an_old_key_are_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "unweight.toml"
    path.write_text('[mprage]\nwithout = ["chi"]\n')
    assert read_settings(path).options["mprage"] == ("--drop-condition", "chi")
    assert "[mprage] without is now called drop-condition" in caplog.text
    assert read_settings(None, ["mprage.without=chi"]).options["mprage"] == ("--drop-condition", "chi")


@pytest.mark.parametrize("words", [("t1", "IMAGES"), ("r2star", "--mag", "IMAGES")])
def test_the_subject_of_files_can_be_named(words: tuple[str, ...]) -> None:
    options = options_of(
        load(COMMANDS[words[0]].mapping), parse([*words, "-o", "out", "--subject", "sub-ab"])
    )
    assert options.images.subject == "ab"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--subject", "a", "--subjects", "b"), "cannot be combined"),
        (("--subject", "a_b"), "is not a valid label"),
    ],
)
def test_a_subject_that_cannot_be(more: tuple[str, ...], message: str, capsys: CAPTURE) -> None:
    assert main(["t1", "x.nii", "-o", "out", *more]) == 2
    assert message in capsys.readouterr().err


def help_of(*words: str) -> str:
    """Return the help of a command."""
    ended = called([*words, "--help"])
    assert ended.code == 0
    return ended.out


def test_train_and_evaluate_show_the_options_of_their_kind() -> None:
    assert "--chi-mask" in help_of("evaluate", "qsm")
    assert "--chi-mask" not in help_of("evaluate", "t1") and "--brain " in help_of("evaluate", "t1")
    assert "--protocol-from" in help_of("train", "t1-resnet")
    of_pairs = help_of("train", "mprage")
    assert "--protocol-from" not in of_pairs and "--bids-dir" in of_pairs
    assert "mprage-gan" in help_of("train")


def test_the_kind_may_stand_after_options_as_before() -> None:
    arguments = parse(["evaluate", "-o", "scores", "--quick", "t1", "--seeds", "2"])
    assert (arguments.what, arguments.out, arguments.seeds) == ("t1", Path("scores"), 2)
    assert arguments.chi is None


TOY = '''
"""`unweight toy`: a command in one file."""

import argparse
from dataclasses import dataclass
from typing import final

from unweight.cli.arguments import Command, argument
from unweight.cli.options import Verbosity, options_of
from unweight.cli.terminal import console


@final
@dataclass(frozen=True, kw_only=True)
class ToyOptions:
    """Options of `unweight toy`."""

    times: tuple[float, ...]
    verbosity: Verbosity


COMMAND = Command(
    module="toy_command",
    summary="add numbers",
    arguments=(argument("--times", nargs="+", type=float, required=True, help="numbers", old="--values"),),
)


def run(arguments: argparse.Namespace) -> int:
    """Print the sum."""
    options = options_of(ToyOptions, arguments)
    console(quiet=options.verbosity.quiet).print(f"{sum(options.times):g}")
    return 0
'''


def test_a_command_is_one_file_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: CAPTURE
) -> None:
    (tmp_path / "toy_command.py").write_text(TOY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "toy_command", raising=False)
    monkeypatch.setitem(COMMANDS, "toy", load("toy_command:COMMAND"))  # the line of the catalogue
    assert "add numbers" in " ".join(parser().format_help().split())
    assert main(["toy", "--times", "1,2", "4"]) == 0
    assert capsys.readouterr().out == "7\n"
    assert main(["toy", "--values", "1", "-q"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "" and "--values is now called --times" in printed.err
