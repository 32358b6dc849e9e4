"""Commands that map: their arguments, all with one way to name images."""

from pathlib import Path

from unweight.cli.arguments import (
    BRAIN_MASK,
    CHOSEN_SERIES,
    DEVICE,
    EXAMINATION,
    FIELD,
    INPUTS,
    MASK,
    MASKING,
    OUT,
    PICTURES,
    READOUT_TIME,
    SERIES,
    SUBJECT,
    SUBJECTS,
    TE,
    TI,
    TR,
    Command,
    argument,
    flag,
    methods_help,
)
from unweight.registry import models, offered

T1W_PLANES = ("axial", "alternate", "three")
REFERENCES = ("mean", "csf", "none")
MAGNITUDES = argument(
    "--mag", dest="magnitude_images", nargs="+", type=Path, metavar="FILE", help="magnitude images"
)
ECHOES = (
    argument(
        "inputs",
        metavar="INPUT",
        nargs="*",
        type=Path,
        help="BIDS dataset, folder of DICOM or NIfTI, or NIfTI files (one 4D or several 3D); "
        "alternatively use --mag",
    ),
    CHOSEN_SERIES,
    MAGNITUDES,
    OUT,
    TE,
    MASK,
    SUBJECTS,
    SUBJECT,
)
NOISE_SD = argument(
    "--noise-sd",
    type=float,
    metavar="S",
    help="noise SD in the real or imaginary part of one coil, in image units; default: estimated",
)
DECAY_END = (
    NOISE_SD,
    DEVICE,
    *PICTURES,
)
B0_DIRECTION = argument(
    "--b0-direction",
    nargs=3,
    type=float,
    metavar=("X", "Y", "Z"),
    help="direction of the static field in voxel axes; default: B0_dir of the sidecar, otherwise from "
    "the sform or qform of the header if it maps to scanner coordinates (code 1)",
)
PHASE_SCALING = (
    argument(
        "--phase-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="phase image values corresponding to a full cycle (2π); default: detected and reported",
    ),
    flag(
        "--phase-full-range",
        help="the minimum and maximum of the phase images correspond to a full cycle (2π)",
    ),
    flag("--invert-phase", help="reverse the sign of the phase (GE)"),
)
COMPLEX_SERIES = (
    argument(
        "inputs",
        metavar="INPUT",
        nargs="*",
        type=Path,
        help="BIDS dataset with part-mag and part-phase (or real and imag), a folder, or NIfTI files "
        "whose names or sidecars identify the parts; alternatively use --mag and --phase",
    ),
    CHOSEN_SERIES,
    MAGNITUDES,
    argument(
        "--phase",
        dest="phase_images",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="phase images, in the same order",
    ),
    OUT,
    TE,
    BRAIN_MASK,
    *MASKING,
    SUBJECTS,
    SUBJECT,
    FIELD,
)

FLIP = argument(
    "--flip",
    dest="flip_angle",
    nargs="+",
    type=float,
    metavar="DEG",
    help="flip angle [degrees], one value or one per volume",
)


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


KNOWN = argument(
    "--known",
    commas=False,
    nargs="+",
    type=assignment,
    default=(),
    metavar="NAME=FILE",
    help="known map: B1 (ratio of actual to nominal flip angle), or a parameter of the model on the grid "
    "of the images, which is then fixed",
)
PERCENT = argument(
    "--percent",
    nargs="+",
    default=(),
    metavar="NAME",
    help="known maps that are in percent: --known B1=b1.nii.gz --percent B1 (default: those whose "
    'sidecar has "Units": "percent")',
)
FIX = argument(
    "--fix",
    nargs="+",
    type=number_assignment,
    default=(),
    metavar="NAME=VALUE",
    help="fix a parameter of the model at a value, in SI units: --fix T1=1.2",
)
R2STAR = Command(
    module="unweight.cli.mapping",
    mapping="unweight.mapping.decay:R2StarOptions",
    summary="R2* and T2* from multi-echo gradient echo",
    arguments=(
        *ECHOES,
        argument(
            "--method",
            choices=offered("decay"),
            default="log-linear",
            help=methods_help("decay", "log-linear"),
        ),
        *DECAY_END,
    ),
    epilogue=(
        "unweight r2star bids_tree -o maps\n"
        "unweight r2star mag_4d.nii.gz --te 0.004 0.008 0.012 -o maps --mask brain.nii.gz"
    ),
)
T2 = Command(
    module="unweight.cli.mapping",
    mapping="unweight.mapping.decay:T2Options",
    summary="T2 from multi-echo spin echo",
    arguments=(
        *ECHOES,
        argument(
            "--method",
            choices=("auto", *offered("t2"), *offered("decay")),
            default="auto",
            help="auto (default): epg for at least four evenly spaced echoes of one train, otherwise "
            f"nonlinear; {methods_help('t2')}; nonlinear, log-linear, arlo: mono-exponential",
        ),
        argument(
            "--skip-first",
            type=int,
            metavar="N",
            help="number of first echoes to omit (default: 0 for epg; 1 for a single exponential, as the "
            "first echo contains no stimulated echo)",
        ),
        KNOWN,
        PERCENT,
        FIX,
        argument(
            "--refocusing",
            nargs="+",
            type=float,
            default=(180.0,),
            metavar="DEG",
            help="nominal refocusing angle for epg [degrees], one value or one per pulse (default 180)",
        ),
        argument(
            "--slice-profile",
            default="auto",
            metavar="PROFILE",
            help="slice profile for epg: auto (default: smallest residual), uniform, or the ratio of "
            "refocusing to excitation slice thickness, for windowed sinc pulses",
        ),
        *DECAY_END,
    ),
    epilogue=(
        "unweight t2 bids_tree -o maps\n"
        "unweight t2 dicom_folder -o maps --known B1=b1.nii.gz --fix T1=1.2\n"
        "unweight t2 mese.nii.gz --te 0.01 0.02 0.03 0.04 --method nonlinear -o maps"
    ),
)
QSM = Command(
    module="unweight.cli.mapping",
    mapping="unweight.mapping.qsm:QsmOptions",
    summary="magnetic susceptibility from magnitude and phase of multi-echo gradient echo",
    arguments=(
        *COMPLEX_SERIES,
        argument(
            "--background",
            choices=offered("qsm", "background"),
            default="vsharp",
            help="background removal (default vsharp)",
        ),
        argument(
            "--inversion",
            choices=offered("qsm", "inversion"),
            default="wtv",
            help="dipole inversion (default wtv: total variation, weighted by the precision of the field)",
        ),
        argument(
            "--reference",
            choices=REFERENCES,
            default="mean",
            help="zero reference of susceptibility: mean of the mask (default), ventricular CSF, or none",
        ),
        argument(
            "--bipolar",
            choices=("auto", "yes", "no"),
            default="auto",
            help="bipolar readout: yes, no, or auto (default): detected from the data",
        ),
        B0_DIRECTION,
        *PHASE_SCALING,
        argument(
            "--quality-limit",
            type=float,
            default=0.35,
            metavar="RAD",
            help="exclude voxels with a larger residual of the phase fit [rad] (default 0.35)",
        ),
        flag("--qsmxt", help="use an installed qsmxt for background removal and inversion"),
        DEVICE,
        *PICTURES,
    ),
    epilogue=(
        "unweight qsm bids_tree -o maps\n"
        "unweight qsm --mag mag_4d.nii.gz --phase phase_4d.nii.gz --te 0.004 0.008 0.012 --field 3 -o maps"
    ),
)
MPRAGE = Command(
    module="unweight.cli.mapping",
    mapping="unweight.mapping.mprage:MprageOptions",
    summary="synthetic T1w (MPRAGE) image from multi-echo gradient echo",
    arguments=(
        *COMPLEX_SERIES,
        argument(
            "--method",
            choices=("auto", *offered("mprage")),
            default="auto",
            help="auto (default): unet, or conditioned for other protocols, or residual for samples; "
            f"{methods_help('mprage')}",
        ),
        argument(
            "--draws",
            type=int,
            metavar="N",
            help="number of samples, for residual (default 0) or fastddpm (default 4)",
        ),
        argument(
            "--planes",
            choices=T1W_PLANES,
            help="orientation of the slices: three (mean over three orientations), axial, or alternate "
            "(changing between the steps of a sample)",
        ),
        argument("--r2star", type=Path, metavar="FILE", help="R2* map [1/s]; default: computed"),
        argument(
            "--chi",
            dest="chi_map",
            type=Path,
            metavar="FILE",
            help="susceptibility map [ppm]; default: computed",
        ),
        argument(
            "--drop-condition",
            dest="dropped_conditions",
            nargs="+",
            choices=("r2star", "chi"),
            help="omit these network inputs",
            old="--without",
        ),
        flag("--no-phase", help="use magnitude only, without susceptibility"),
        TR,
        FLIP,
        flag(
            "--any-scan",
            help="accept scans outside the supported range (flip angle, TR, echo times, SNR, field "
            "strength); every voxel is then flagged as suspect",
        ),
        B0_DIRECTION,
        *PHASE_SCALING,
        argument("--seed", type=int, default=0, metavar="N", help="random seed of the samples (default 0)"),
        argument(
            "--weights",
            type=Path,
            metavar="DIR",
            help="folder of weights from `unweight train`; default: those of the package",
        ),
        DEVICE,
        *PICTURES,
    ),
    epilogue=(
        "unweight mprage bids_tree -o images\n"
        "unweight mprage bids_tree -o images --method fastddpm --draws 4\n"
        "unweight mprage --mag mag_4d.nii.gz --phase phase_4d.nii.gz --te 0.004 0.012 0.02 "
        "--tr 0.036 --flip 15 --field 3 --any-scan -o images"
    ),
)
T1 = Command(
    module="unweight.cli.mapping",
    mapping="unweight.mapping.t1:T1Options",
    summary="T1, PD and inversion efficiency from inversion-recovery images",
    arguments=(
        *SERIES,
        OUT,
        argument(
            "--method",
            choices=("auto", *offered("t1")),
            default="auto",
            help=f"{methods_help('t1')}; auto (default): posterior within the supported range of its "
            "weights, otherwise ml",
        ),
        argument(
            "--weights",
            type=Path,
            metavar="DIR",
            help="folder of weights from `unweight train`; default: those of the package",
        ),
        argument("--draws", type=int, metavar="N", help="number of samples, for posterior or diffusor"),
        argument("--steps", type=int, metavar="N", help="diffusion steps per sample, for diffusor"),
        argument(
            "--efficiency",
            type=float,
            metavar="B",
            help="fix the inversion efficiency at this value (2 for a perfect inversion)",
        ),
        argument(
            "--efficiency-range",
            nargs=2,
            type=float,
            metavar=("LOW", "HIGH"),
            help="range of the inversion efficiency (default 0.5 3)",
        ),
        flag(
            "--pulse-efficiency",
            help="assume that the preceding inversion had the same efficiency; default: perfect inversion "
            "for ml, the same efficiency for posterior if all volumes have the same TR",
        ),
        NOISE_SD,
        DEVICE,
        *PICTURES,
    ),
    epilogue=(
        "unweight t1 dicom_folder -o maps\n"
        "unweight t1 bids_tree -o maps --subjects 01 02\n"
        "unweight t1 ir.nii.gz --ti 0.05 0.4 1.1 2.5 --tr 2.55 -o maps"
    ),
)
MAPS = Command(
    module="unweight.cli.mapping",
    mapping="unweight.mapping.weighted:WeightedOptions",
    summary="T1, T2 and PD from routine T1w, T2w and FLAIR",
    arguments=(
        *EXAMINATION,
        OUT,
        argument(
            "--method",
            choices=offered("weighted"),
            default="embedding",
            help=methods_help("weighted", "embedding"),
        ),
        argument(
            "--weights",
            type=Path,
            metavar="DIR",
            help="folder of weights from `unweight train`; default: those of the package",
        ),
        DEVICE,
        *PICTURES,
    ),
    epilogue=(
        "unweight maps bids_tree -o maps\n"
        "unweight maps --t1w T1w.nii.gz --t2w T2w.nii.gz --flair FLAIR.nii.gz -o maps\n"
        "unweight maps --t1w a.nii.gz --t1w-tr 0.6 --t1w-te 0.012 --t2w b.nii.gz --t2w-tr 5 "
        "--t2w-te 0.1 --field 3 -o maps"
    ),
)
TIMINGS = (TE, TR, TI, FLIP, READOUT_TIME)


ARGUMENTS = (
    INPUTS,
    CHOSEN_SERIES,
    OUT,
    *TIMINGS,
    flag("--signed", help="signed images (real part after phase correction)"),
    flag("--complex", help="fit complex data, from magnitude and phase or real and imaginary part"),
    KNOWN,
    argument(
        "--b1-map",
        type=Path,
        metavar="FILE",
        help="equivalent to --known B1=FILE; `run` uses the TB1map of the visit",
    ),
    PERCENT,
    FIX,
    NOISE_SD,
    argument("--rec", metavar="LABEL", help="add rec-LABEL to the file names, for a second set of maps"),
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
        summary=f"{item.title or item.summary}; equivalent to `fit {item.name}`",
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
        help="simulate magnitude images of this signal model, with the timings given",
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
