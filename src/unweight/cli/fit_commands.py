"""Commands that fit signal models: `fit` any of them, and one for each model that `run` plans."""

from unweight.cli.arguments import (
    CHOSEN_SERIES,
    DEVICE,
    INPUTS,
    MASK,
    OUT,
    PICTURES,
    READOUT_TIME,
    SUBJECT,
    SUBJECTS,
    TE,
    TI,
    TR,
    argument,
    flag,
)
from unweight.cli.command import Command
from unweight.registry import models

FLIP = argument(
    "--flip",
    dest="flip_angle",
    nargs="+",
    type=float,
    metavar="DEG",
    help="flip angle [degrees], one or one per volume",
)
TIMINGS = (TE, TR, TI, FLIP, READOUT_TIME)


def assignment(text: str) -> tuple[str, str]:
    """Take NAME=VALUE."""
    name, separator, value = text.partition("=")
    if not (name and separator and value):
        raise ValueError(text)
    return name, value


def number_assignment(text: str) -> tuple[str, float]:
    """Take NAME=NUMBER."""
    name, value = assignment(text)
    return name, float(value)


ARGUMENTS = (
    INPUTS,
    CHOSEN_SERIES,
    OUT,
    *TIMINGS,
    flag("--signed", help="the images keep their sign (real part, phase corrected)"),
    flag("--complex", help="fit magnitude and phase, or real and imaginary part, together"),
    argument(
        "--known",
        nargs="+",
        type=assignment,
        default=(),
        metavar="NAME=FILE",
        help="a map on the grid of the images: B1, the flip angle reached over the nominal one; or a "
        "parameter of the model, which is then held",
    ),
    argument(
        "--percent",
        nargs="+",
        default=(),
        metavar="NAME",
        help="known maps that are in percent: --known B1=b1.nii.gz --percent B1",
    ),
    argument(
        "--fix",
        nargs="+",
        type=number_assignment,
        default=(),
        metavar="NAME=VALUE",
        help="hold a parameter of the model at a value, in SI units: --fix T1=1.2",
    ),
    argument("--noise-sd", type=float, metavar="S", help="noise of one channel, if you know it"),
    argument("--rec", metavar="LABEL", help="write names with rec-LABEL, beside maps of other images"),
    MASK,
    SUBJECTS,
    SUBJECT,
    DEVICE,
    *PICTURES,
)
FIT = Command(
    module="unweight.cli.mapping",
    mapping="unweight.mapping.model_fit:ModelOptions",
    summary="fit a signal model to images: " + ", ".join(item.name for item in models()),
    arguments=(
        argument(
            "model",
            metavar="MODEL",
            choices=tuple(item.name for item in models()),
            help="; ".join(f"{item.name}: {item.summary}" for item in models()),
        ),
        *ARGUMENTS,
    ),
    epilogue=(
        "unweight fit variable-flip-angle bids_tree -o maps\n"
        "unweight fit variable-flip-angle a.nii.gz b.nii.gz --flip 3 20 --tr 0.015 --known B1=b1.nii.gz "
        "-o maps\n"
        "unweight fit t2-decay mese.nii.gz --te 0.01 0.02 0.03 0.04 -o maps"
    ),
)
FIT_OF_MODEL = {
    item.command: Command(
        module="unweight.cli.mapping",
        mapping="unweight.mapping.model_fit:ModelOptions",
        summary=f"{item.title or item.summary}, the same as `fit {item.name}`",
        arguments=ARGUMENTS,
        epilogue=f"unweight {item.command} bids_tree -o maps",
    )
    for item in models()
    if item.command
}
SIMULATED_MODEL = (
    argument(
        "--model",
        choices=tuple(item.name for item in models()),
        help="simulate magnitudes of this signal model instead, with the timings given",
    ),
    *TIMINGS,
    argument(
        "--field",
        dest="field_strength",
        type=float,
        metavar="T",
        help="field strength of --model [T] (default 3)",
    ),
)
