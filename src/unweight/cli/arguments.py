"""Arguments as data, so that help needs no heavy import, and those that several commands share."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import final

from unweight.registry import methods, offered

NUMBER = re.compile(r"-[0-9.]")
MOST_SERIES = 10_000  # in a range


@final
@dataclass(frozen=True, kw_only=True)
class Argument:
    """One argument, as argparse takes it.

    Attributes:
        names: `INPUT` or `-o, --out`.
        settings: The keyword arguments of `add_argument`.
        old: A spelling of releases before, which is still taken, with a note.
        commas: Whether a list can be written with commas; values must not hold any.
        only: Of a command with kinds, those whose help shows it; empty for all.
    """

    names: tuple[str, ...]
    settings: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    old: str = ""
    commas: bool = True
    only: tuple[str, ...] = ()

    @property
    def dest(self) -> str:
        """The name under which its value is kept."""
        given = self.settings.get("dest")
        if isinstance(given, str):
            return given
        name = next((name for name in self.names if name.startswith("--")), self.names[0])
        return name.lstrip("-").replace("-", "_")

    @property
    def is_list(self) -> bool:
        """Whether it takes several values that hold no commas: all but names of files."""
        many = self.settings.get("nargs") in ("+", "*") or isinstance(self.settings.get("nargs"), int)
        of_text = self.commas and self.settings.get("type") is not Path
        return many and of_text and self.names[0].startswith("-")


@final
@dataclass(frozen=True, kw_only=True)
class Command:
    """One command.

    Attributes:
        module: Where its `run(arguments) -> exit code` is; loaded when the command is called.
        summary: One line for the list of commands.
        arguments: What it takes.
        epilogue: Examples.
        mapping: Of a command that maps, the target of its `MappingOptions`.
        kinds: Name of the first argument, of a command whose help differs with its value.
    """

    module: str
    summary: str
    arguments: tuple[Argument, ...]
    epilogue: str = ""
    mapping: str = ""
    kinds: str = ""

    def spelling(self, dest: str) -> str:
        """Return how the option is written whose value has this name."""
        return next(entry.names[-1] for entry in self.arguments if entry.dest == dest)


def argument(
    *names: str,
    help: str,  # noqa: A002 (argparse's own word)
    old: str = "",
    commas: bool = True,
    only: Sequence[str] = (),
    **settings: object,
) -> Argument:
    """Write an argument the way argparse does.

    Args:
        names: As argparse takes them.
        help: Of the option.
        old: A spelling of releases before.
        commas: Whether values hold none, so that a list can be written with them.
        only: Of a command with kinds, those whose help shows it.
        settings: Further ones of argparse.
    """
    return Argument(
        names=names,
        settings=MappingProxyType({"help": help, **settings}),
        old=old,
        commas=commas,
        only=tuple(only),
    )


def flag(*names: str, help: str) -> Argument:  # noqa: A002 (argparse's own word)
    """Write an argument that is there or not."""
    return argument(*names, help=help, action="store_true")


def separated(words: Sequence[str], arguments: Sequence[Argument]) -> list[str]:
    """Return the words of a call with lists such as `0.05,0.4` taken apart at their commas."""
    lists = {name for entry in arguments if entry.is_list for name in entry.names}
    result: list[str] = []
    in_list = False
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("-") and not NUMBER.match(word):
            in_list = word in lists
            if equals and name in lists:
                result += [name, *_parts(value)]
                continue
        result += _parts(word) if in_list and "," in word else [word]
    return result


def _parts(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def renamed(words: Sequence[str], arguments: Sequence[Argument]) -> tuple[list[str], tuple[str, ...]]:
    """Return the words of a call with options in their new spelling, and a note for each old one."""
    new_names = {entry.old: entry.names[-1] for entry in arguments if entry.old}
    result, notes = [], []
    for word in words:
        name, equals, value = word.partition("=")
        new = new_names.get(name, name)
        if new != name:
            notes.append(f"{name} is now called {new}; the old name will be removed in the next release")
        result.append(f"{new}{equals}{value}")
    return result, tuple(notes)


def label(text: str) -> str:
    """Take a subject label with or without `sub-`."""
    return text.removeprefix("sub-")


def series_range(text: str) -> tuple[int, ...]:
    """Take the number of a series, or a range of numbers: `8` or `8-13`."""
    first, _, last = text.partition("-")
    numbers = range(int(first), int(last or first) + 1)
    if not 0 < len(numbers) <= MOST_SERIES:
        raise ValueError(text)
    return tuple(numbers)


def mask_file(text: str) -> Path | None:
    """Read the file of a brain mask; `auto` is as if none was given."""
    return None if text == "auto" else Path(text)


def methods_help(family: str, default: str = "") -> str:
    """Return the help of `--method`: what each method of a family is, those of one kind together.

    Args:
        family: Of the registry.
        default: The method that is marked as the default.
    """
    texts = []
    offered_methods = (item for item in methods(family) if item.offered)
    for summary, group in groupby(offered_methods, key=lambda item: item.summary):
        names = ", ".join(f"{item.name} (default)" if item.name == default else item.name for item in group)
        texts.append(f"{names}: {summary.replace('%', '%%')}")
    return "; ".join(texts)


WEIGHTED = ("t1w", "t2w", "flair")


def weighted_arguments(contrast: str) -> tuple[Argument, ...]:
    """Return the arguments that tell of one weighted image."""
    name = {"t1w": "T1w", "t2w": "T2w", "flair": "FLAIR"}[contrast]
    times = {"tr": "repetition time", "te": "echo time", "ti": "inversion time"}
    return (
        argument(
            f"--{contrast}",
            dest=f"{contrast}_file",
            type=Path,
            metavar="FILE",
            help=f"{name} image (NIfTI)",
        ),
        *(
            argument(
                f"--{contrast}-{short}",
                dest=f"{contrast}_{words.replace(' ', '_')}",
                type=float,
                metavar="S",
                help=f"{words} of the {name} image [s]",
            )
            for short, words in times.items()
        ),
        argument(
            f"--{contrast}-flip",
            dest=f"{contrast}_flip_angle",
            type=float,
            metavar="DEG",
            help=f"flip angle of the {name} image [degrees]",
        ),
        argument(
            f"--{contrast}-readout",
            choices=("spin-echo", "turbo-spin-echo", "mprage"),
            help="kind of readout, if not in the sidecar",
        ),
    )


SUBJECTS = argument(
    "--subjects",
    "--participant-label",
    nargs="+",
    type=label,
    metavar="LABEL",
    help="only these subjects of a BIDS dataset",
)
SUBJECT = argument(
    "--subject",
    type=label,
    metavar="LABEL",
    help="subject label for images outside a BIDS dataset (default: from the file names, otherwise 01)",
)
INPUTS = argument(
    "inputs",
    metavar="INPUT",
    nargs="+",
    type=Path,
    help="BIDS dataset, folder of DICOM or NIfTI, or NIfTI files (one 4D or several 3D)",
)
TE = argument(
    "--te",
    dest="echo_time",
    nargs="+",
    type=float,
    metavar="S",
    help="echo time [s], one value or one per volume",
)
FIELD = argument(
    "--field",
    dest="field_strength",
    type=float,
    metavar="T",
    help="field strength [T], if not in a sidecar",
)
MASK = argument(
    "--mask",
    type=Path,
    metavar="FILE|auto",
    help="mask, NIfTI on the same grid, nonzero inside; or auto: the brain, found by a network",
)
CHOSEN_SERIES = argument(
    "--series",
    nargs="+",
    type=series_range,
    metavar="N",
    help="for DICOM folders: numbers of the series to use (8, or 8-13); times on the command line refer "
    "to their volumes in this order",
)
TI = argument(
    "--ti",
    dest="inversion_time",
    nargs="+",
    type=float,
    metavar="S",
    help="inversion times [s], one per volume, in the order of the files or of the DICOM series numbers",
)
TR = argument(
    "--tr",
    dest="repetition_time",
    nargs="+",
    type=float,
    metavar="S",
    help="repetition time [s], one value or one per volume",
)
READOUT_TIME = argument(
    "--readout-time",
    nargs="+",
    type=float,
    metavar="S",
    help="time from excitation to the last echo of the train [s]; recovery of the longitudinal "
    "magnetisation is counted from that echo",
)
SERIES = (
    INPUTS,
    CHOSEN_SERIES,
    TI,
    TR,
    TE,
    READOUT_TIME,
    flag("--signed", help="signed images (real part after phase correction)"),
    flag("--magnitude", help="magnitude images"),
    MASK,
    SUBJECTS,
    SUBJECT,
)
OUT = argument(
    "-o",
    "--out",
    required=True,
    type=Path,
    metavar="DIR",
    help="output directory for derivatives; created if absent",
)
DEVICE = argument(
    "--device",
    default="auto",
    choices=("auto", "cpu", "cuda"),
    help="computing device (default auto: GPU if available)",
)
MASK_METHOD = argument(
    "--mask-method",
    choices=offered("mask"),
    default="network",
    help="how the brain mask is computed where none is given: by a network for images of any contrast "
    "(network, the default), or by threshold and morphology (classical)",
)
MASK_BORDER = argument(
    "--mask-border",
    type=float,
    default=0.0,
    metavar="MM",
    help="with --mask-method network: margin of the mask around the brain [mm]; negative for a smaller "
    "mask (default 0)",
)
MASK_WEIGHTS = argument(
    "--mask-weights",
    type=Path,
    metavar="DIR",
    help="with --mask-method network: folder of other weights, as `unweight train brain-mask` writes them",
)
BRAIN_MASK = argument(
    "--mask",
    type=mask_file,
    metavar="FILE",
    help="brain mask; default, or auto: computed from the images",
)
MASKING = (MASK_METHOD, MASK_BORDER, MASK_WEIGHTS)
NO_FIGURES = flag("--no-figures", help="do not write figures")
NO_REPORT = flag("--no-report", help="do not write the HTML report")
SHARED_ASSETS = flag(
    "--shared-assets",
    help="smaller HTML reports: write the viewer once to the output directory, not into each report",
)
JSON = flag(
    "--json",
    help="print one JSON object instead of the summary: files, voxel counts, values, times, errors",
)
PICTURES = (NO_FIGURES, NO_REPORT, SHARED_ASSETS, JSON)
EXAMINATION = (
    argument(
        "inputs",
        metavar="INPUT",
        nargs="*",
        type=Path,
        help="BIDS dataset or the folder of a subject in it, folder of DICOM or NIfTI files of an exam, or "
        "NIfTI files whose names end in T1w, T2w and FLAIR; alternatively use --t1w, --t2w and --flair",
    ),
    argument(
        "--series",
        nargs="+",
        type=series_range,
        metavar="N",
        help="for DICOM folders: numbers of the series to choose from (8, or 8-13)",
    ),
    flag(
        "--contrast-agent",
        help="accept contrast-enhanced images if there are no unenhanced images of that contrast; T1 is "
        "then the post-contrast T1",
    ),
    *(item for contrast in WEIGHTED for item in weighted_arguments(contrast)),
    FIELD,
    BRAIN_MASK,
    *MASKING,
    argument(
        "--reference",
        choices=WEIGHTED,
        help="image that defines the grid of the maps (default: the first image given)",
    ),
    flag("--no-register", help="do not register images on other grids, only resample them"),
    flag("--n4", help="correct the bias field of each image first (N4)"),
    argument(
        "--rec",
        metavar="LABEL",
        help="add rec-LABEL to the file names, so that the output can also hold T1 and T2 maps of other "
        "images of the same subject",
    ),
    SUBJECTS,
    SUBJECT,
)
COMMON = (
    flag("-q", "--quiet", help="print errors only"),
    flag("-v", "--verbose", help="also print each step of the work, on standard error"),
    flag("--debug", help="print debugging messages, and the traceback of an error"),
    argument(
        "--log-file",
        type=Path,
        metavar="FILE",
        help="append everything that is printed, and all debugging messages with their time, to this file",
    ),
)
