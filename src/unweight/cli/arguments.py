"""Arguments as data, so that help needs no heavy import, and those that several commands share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import final

from unweight.registry import methods

MOST_SERIES = 10_000  # in a range


@final
@dataclass(frozen=True, kw_only=True)
class Argument:
    """One argument, as argparse takes it.

    Attributes:
        names: `INPUT` or `-o, --out`.
        settings: The keyword arguments of `add_argument`.
    """

    names: tuple[str, ...]
    settings: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


def argument(*names: str, help: str, **settings: object) -> Argument:  # noqa: A002 (argparse's own word)
    """Write an argument the way argparse does."""
    return Argument(names=names, settings=MappingProxyType({"help": help, **settings}))


def flag(*names: str, help: str) -> Argument:  # noqa: A002 (argparse's own word)
    """Write an argument that is there or not."""
    return argument(*names, help=help, action="store_true")


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


def series_numbers(ranges: list[tuple[int, ...]] | None) -> tuple[int, ...] | None:
    """Return the numbers of all ranges, in their order; None if none were given."""
    return None if ranges is None else tuple(number for one in ranges for number in one)


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
        argument(f"--{contrast}", type=Path, metavar="FILE", help=f"the {name} image, a NIfTI file"),
        *(
            argument(f"--{contrast}-{short}", type=float, metavar="S", help=f"{words} of it [s]")
            for short, words in times.items()
        ),
        argument(f"--{contrast}-flip", type=float, metavar="DEG", help="flip angle of it [degrees]"),
        argument(
            f"--{contrast}-readout",
            choices=("spin-echo", "turbo-spin-echo", "mprage"),
            help="what was read out, if its sidecar does not tell",
        ),
    )


SUBJECTS = argument(
    "--subjects",
    "--participant-label",
    nargs="+",
    type=label,
    metavar="LABEL",
    help="only these subjects of a BIDS tree",
)
INPUTS = argument(
    "inputs",
    metavar="INPUT",
    nargs="+",
    type=Path,
    help="a BIDS tree, a folder of DICOM or NIfTI, or NIfTI files (one 4-D or several 3-D)",
)
TE = argument("--te", nargs="+", type=float, metavar="S", help="echo time [s], one or one per volume")
MASK = argument("--mask", type=Path, metavar="FILE", help="NIfTI on the same grid; work where it is not 0")
CHOSEN_SERIES = argument(
    "--series",
    nargs="+",
    type=series_range,
    metavar="N",
    help="of a folder of DICOM, only the series of these numbers (8, or 8-13); times given by hand count "
    "their volumes in this order",
)
SERIES = (
    INPUTS,
    CHOSEN_SERIES,
    argument(
        "--ti",
        nargs="+",
        type=float,
        metavar="S",
        help="inversion times [s], one per volume: in the order of the files, or of the numbers of DICOM "
        "series",
    ),
    argument("--tr", nargs="+", type=float, metavar="S", help="repetition time [s], one or one per volume"),
    TE,
    argument(
        "--readout-time",
        nargs="+",
        type=float,
        metavar="S",
        help="excitation to last echo of the train [s]; recovery starts there",
    ),
    flag("--signed", help="the images keep their sign (real part, phase corrected)"),
    flag("--magnitude", help="the images are magnitudes"),
    MASK,
    SUBJECTS,
)
OUT = argument(
    "-o", "--out", required=True, type=Path, metavar="DIR", help="derivatives go here; made if absent"
)
DEVICE = argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to compute")
NO_FIGURES = flag("--no-figures", help="write no pictures")
NO_REPORT = flag("--no-report", help="write no page for the subject")
PICTURES = (NO_FIGURES, NO_REPORT)
EXAMINATION = (
    argument(
        "inputs",
        metavar="BIDS",
        nargs="*",
        type=Path,
        help="a BIDS tree, with T1w, T2w and FLAIR of each subject; or give files with the options",
    ),
    *(one for contrast in WEIGHTED for one in weighted_arguments(contrast)),
    argument("--field", type=float, metavar="T", help="field strength [T], if no sidecar tells it"),
    argument("--mask", type=Path, metavar="FILE", help="brain mask; default: the brain is found"),
    argument(
        "--reference",
        choices=WEIGHTED,
        help="whose grid the maps lie on (default: that of the first image given)",
    ),
    flag("--no-register", help="images on other grids are aligned already: only resample them"),
    flag("--n4", help="take the bias field out of each image first"),
    argument(
        "--rec",
        metavar="LABEL",
        help="write names with rec-LABEL, beside T1 and T2 maps of other images of the same head",
    ),
    SUBJECTS,
)
COMMON = (
    flag("-q", "--quiet", help="say only what went wrong"),
    flag("--debug", help="show the traceback of an error"),
)
