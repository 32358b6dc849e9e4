"""Commands that take multi-echo series: R2*, T2 and susceptibility."""

from pathlib import Path

from unweight.cli.arguments import (
    CHOSEN_SERIES,
    DEVICE,
    FIELD,
    MASK,
    OUT,
    PICTURES,
    SUBJECT,
    SUBJECTS,
    TE,
    argument,
    flag,
    methods_help,
)
from unweight.cli.command import Command
from unweight.registry import offered

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
        help="a BIDS tree, a folder of DICOM or NIfTI, or NIfTI files (one 4-D or several 3-D); or give "
        "them with --mag",
    ),
    CHOSEN_SERIES,
    MAGNITUDES,
    OUT,
    TE,
    MASK,
    SUBJECTS,
    SUBJECT,
)
DECAY_END = (
    argument("--noise-sd", type=float, metavar="S", help="noise of one channel, if you know it"),
    DEVICE,
    *PICTURES,
)
B0_DIRECTION = argument(
    "--b0-direction",
    nargs=3,
    type=float,
    metavar=("X", "Y", "Z"),
    help="of the static field in voxel axes; default: B0_dir of the sidecar, else the matrix of the header "
    "that leads to the space of the scanner",
)
PHASE_SCALING = (
    argument(
        "--phase-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="numbers of the phase images that stand for a full turn; default: recognised, and said",
    ),
    flag("--phase-full-range", help="the lowest and highest number of the phase images are a full turn"),
    flag("--invert-phase", help="phase falls where the field is higher (GE)"),
)
OWN_SUSCEPTIBILITY = (
    argument("--chi", type=Path, metavar="FILE", help="qsm: score this susceptibility map [ppm]"),
    argument("--truth", type=Path, metavar="FILE", help="qsm: against this one"),
    argument("--chi-mask", type=Path, metavar="FILE", help="qsm: where it is not 0"),
    argument("--chi-labels", type=Path, metavar="FILE", help="qsm: with labels of the QSM challenge"),
)
OWN_T1W = (
    argument(
        "--people", type=int, metavar="N", help="mprage: people of each set (default 60, of others 4)"
    ),
    argument("--pairs", type=Path, metavar="DIR", help="mprage: where simulated people are kept"),
    argument("--bids", type=Path, metavar="DIR", help="mprage: a tree with MEGRE and T1w to score on too"),
    argument("--t1w", type=Path, metavar="FILE", help="mprage: a real T1w image to look at beside them"),
    argument(
        "--segmenter",
        choices=("own", "synthseg", "fastsurfer"),
        help="mprage: what finds structures, in true and made images alike (default own)",
    ),
    argument(
        "--workers", type=int, metavar="N", help="mprage: processes that simulate (default: one each core)"
    ),
)

COMPLEX_SERIES = (
    argument(
        "inputs",
        metavar="INPUT",
        nargs="*",
        type=Path,
        help="a BIDS tree with part-mag and part-phase (or real and imag), a folder, or NIfTI files "
        "whose names or sidecars tell the parts; or give them with --mag and --phase",
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
    argument("--mask", type=Path, metavar="FILE", help="brain mask; default: the brain is found"),
    SUBJECTS,
    SUBJECT,
    FIELD,
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
            choices=offered("decay"),
            default="nonlinear",
            help="nonlinear (default): least squares above the noise floor, which log-linear and arlo do "
            "not know",
        ),
        argument(
            "--skip-first",
            type=int,
            default=1,
            metavar="N",
            help="echoes left out, for the first has no stimulated echoes (default 1)",
        ),
        *DECAY_END,
    ),
    epilogue="unweight t2 bids_tree -o maps\nunweight t2 dicom_folder -o maps",
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
            help="how background fields are removed (default vsharp)",
        ),
        argument(
            "--inversion",
            choices=offered("qsm", "inversion"),
            default="wtv",
            help="from field to susceptibility; wtv (default): total variation, weighted with trust",
        ),
        argument(
            "--reference",
            choices=REFERENCES,
            default="mean",
            help="which mean susceptibility is called 0: of the whole mask (default), of CSF in the "
            "ventricles, or none",
        ),
        argument(
            "--bipolar",
            choices=("auto", "yes", "no"),
            default="auto",
            help="whether every other echo was read backwards (default: seen in the data)",
        ),
        B0_DIRECTION,
        *PHASE_SCALING,
        argument(
            "--quality-limit",
            type=float,
            default=0.35,
            metavar="RAD",
            help="residual of the phase above which a voxel is put aside (default 0.35)",
        ),
        flag("--qsmxt", help="let an installed qsmxt do background removal and inversion"),
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
    summary="a T1w (MPRAGE) image made of multi-echo gradient echo; made, not measured",
    arguments=(
        *COMPLEX_SERIES,
        argument(
            "--method",
            choices=offered("mprage"),
            default="residual",
            help=methods_help("mprage", "residual"),
        ),
        argument("--draws", type=int, metavar="N", help="draws of residual (default none) or fastddpm (4)"),
        argument(
            "--planes",
            choices=T1W_PLANES,
            help="slices a network sees: three, the mean over three planes; axial; alternate: by turns "
            "from step to step of a draw",
        ),
        argument("--r2star", type=Path, metavar="FILE", help="R2* map [1/s] to use; default: made"),
        argument(
            "--chi", dest="chi_map", type=Path, metavar="FILE", help="susceptibility [ppm]; default: made"
        ),
        argument(
            "--drop-condition",
            dest="dropped_conditions",
            nargs="+",
            choices=("r2star", "chi"),
            help="leave these inputs of the network out",
            old="--without",
        ),
        flag("--no-phase", help="magnitude alone: no susceptibility"),
        B0_DIRECTION,
        *PHASE_SCALING,
        argument("--seed", type=int, default=0, metavar="N", help="of the draws (default 0)"),
        argument("--weights", type=Path, metavar="DIR", help="weights that `unweight train` wrote"),
        DEVICE,
        *PICTURES,
    ),
    epilogue=(
        "unweight mprage bids_tree -o images\n"
        "unweight mprage bids_tree -o images --method fastddpm --draws 4\n"
        "unweight mprage --mag mag_4d.nii.gz --phase phase_4d.nii.gz --te 0.004 0.008 0.012 --field 3 "
        "-o images"
    ),
)
