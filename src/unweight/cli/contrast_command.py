"""`unweight contrast`: its arguments; `cli.mapping` carries it out."""

from pathlib import Path

from unweight.cli.arguments import (
    DEVICE,
    OUT,
    PICTURES,
    SUBJECTS,
    Argument,
    Command,
    argument,
    flag,
    label,
)


def map_files(quantity: str, unit: str) -> tuple[Argument, Argument]:
    """Return the arguments that name one map and its SD."""
    short = quantity.lower()
    return (
        argument(
            f"--{short}-map", type=Path, metavar="FILE", help=f"{quantity} map{unit}, instead of MAPS"
        ),
        argument(
            f"--{short}-sd", type=Path, metavar="FILE", help=f"standard deviation of the {quantity} map"
        ),
    )


CONTRAST = Command(
    module="unweight.cli.mapping",
    mapping="unweight.mapping.contrast:ContrastOptions",
    summary="T1w, T2w, FLAIR or MPRAGE images computed from maps of T1, T2 and PD",
    arguments=(
        argument(
            "inputs",
            metavar="MAPS",
            nargs="*",
            type=Path,
            help="a folder that `unweight maps` wrote; or give files with --t1-map, --t2-map and --pd-map",
        ),
        *map_files("T1", " [s]"),
        *map_files("T2", " [s]"),
        *map_files("PD", ""),
        OUT,
        flag("--t1w", help="spin echo; preset: TR 0.6 s, TE 0.01 s"),
        flag("--t2w", help="turbo spin echo; preset: TR 5 s, TE 0.1 s"),
        flag("--flair", help="turbo spin echo after an inversion; preset: TR 9 s, TE 0.1 s, TI 2.5 s"),
        flag("--mprage", help="preset: TR 2.3 s, TE 0.003 s, TI 0.9 s, 9 degrees; named acq-MPRAGE"),
        argument(
            "--tr",
            dest="repetition_time",
            nargs="+",
            type=float,
            metavar="S",
            help="repetition time [s], if one contrast is selected; for MPRAGE, between inversions",
        ),
        argument(
            "--te",
            dest="echo_time",
            nargs="+",
            type=float,
            metavar="S",
            help="echo time [s], for a single contrast",
        ),
        argument(
            "--ti",
            dest="inversion_time",
            nargs="+",
            type=float,
            metavar="S",
            help="inversion time [s], for a single contrast; with --t1w or --t2w an inversion is added",
        ),
        argument(
            "--flip",
            dest="flip_angle",
            nargs="+",
            type=float,
            metavar="DEG",
            help="excitation flip angle [degrees], for a single contrast; default: 90, MPRAGE 9",
        ),
        argument(
            "--readout-time",
            nargs="+",
            type=float,
            metavar="S",
            help="excitation to last echo of the train [s]; default: that of the preset, or 2 TE with --te",
        ),
        argument(
            "--acq",
            metavar="LABEL",
            help="add acq-LABEL to the file names, to distinguish images of other timings",
        ),
        argument("--mask", type=Path, metavar="FILE", help="mask, for maps given as files; nonzero inside"),
        SUBJECTS,
        argument(
            "--subject",
            type=label,
            metavar="LABEL",
            help="subject label of maps given as files (default: from the file names, otherwise 01)",
        ),
        DEVICE,
        *PICTURES,
    ),
    epilogue=(
        "unweight contrast maps --t1w --flair -o images\n"
        "unweight contrast maps --flair --tr 4.8 --te 0.09 --ti 1.65 --acq site2 -o images\n"
        "unweight contrast --t1-map T1map.nii.gz --t2-map T2map.nii.gz --pd-map PDmap.nii.gz --mprage "
        "-o images"
    ),
)
