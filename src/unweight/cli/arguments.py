"""Arguments as data, so that help needs no heavy import, and those that several commands share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import final


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


SERIES = (
    argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        type=Path,
        help="a BIDS tree, a folder of DICOM or NIfTI, or NIfTI files (one 4-D or several 3-D)",
    ),
    argument(
        "--ti",
        nargs="+",
        type=float,
        metavar="S",
        help="inversion times [s], one per volume, in file order",
    ),
    argument("--tr", nargs="+", type=float, metavar="S", help="repetition time [s], one or one per volume"),
    argument("--te", nargs="+", type=float, metavar="S", help="echo time [s], one or one per volume"),
    argument(
        "--readout-time",
        nargs="+",
        type=float,
        metavar="S",
        help="excitation to last echo of the train [s]; recovery starts there",
    ),
    flag("--signed", help="the images keep their sign (real part, phase corrected)"),
    flag("--magnitude", help="the images are magnitudes"),
    argument("--mask", type=Path, metavar="FILE", help="NIfTI on the same grid; work where it is not 0"),
    argument(
        "--subjects",
        "--participant-label",
        nargs="+",
        type=label,
        metavar="LABEL",
        help="only these subjects of a BIDS tree",
    ),
)
OUT = argument(
    "-o", "--out", required=True, type=Path, metavar="DIR", help="derivatives go here; made if absent"
)
COMMON = (
    flag("-q", "--quiet", help="say only what went wrong"),
    flag("--debug", help="show the traceback of an error"),
)
