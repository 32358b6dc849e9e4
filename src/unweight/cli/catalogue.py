"""The one list of names: every command, with its arguments, and every method a command can use."""

from pathlib import Path

from unweight.cli.arguments import (
    FIELD,
    SERIES,
    SUBJECTS,
    Command,
    argument,
    flag,
    label,
)
from unweight.cli.learning_commands import EVALUATE, TRAIN
from unweight.cli.mapping_commands import (
    FIT,
    FIT_OF_MODEL,
    MAPS,
    MPRAGE,
    QSM,
    R2STAR,
    SIMULATED_MODEL,
    T1,
    T2,
)
from unweight.cli.study_commands import INIT, RUN, SLURM

COMMANDS = {
    "t1": T1,
    "maps": MAPS,
    "r2star": R2STAR,
    "t2": T2,
    "qsm": QSM,
    "mprage": MPRAGE,
    "run": RUN,
    "init": INIT,
    "slurm": SLURM,
    "fit": FIT,
    **FIT_OF_MODEL,
    "phantom": Command(
        module="unweight.cli.phantom",
        summary="table of the NIST/ISMRM system phantom's spheres from T1 maps",
        arguments=(
            argument("out", metavar="OUT", type=Path, help="folder of maps that `unweight t1` wrote"),
            argument(
                "--phantom-version",
                dest="version",
                old="--version",
                required=True,
                type=int,
                choices=(1, 2),
                help="1: serial number up to 0041; 2: from 0042",
            ),
            argument(
                "--images",
                nargs="+",
                type=Path,
                metavar="INPUT",
                help="the images the map was made from: the spheres' mean signals are then fitted",
            ),
            argument("--plate", type=int, choices=(4, 5), help="4: MnCl2, 5: NiCl2; default: by T1"),
            argument(
                "--radius",
                dest="radius_mm",
                type=float,
                default=4.5,
                metavar="MM",
                help="of the region in each sphere [mm]",
            ),
            FIELD,
            SUBJECTS,
        ),
        epilogue=(
            "unweight phantom maps --phantom-version 2\n"
            "unweight phantom maps --phantom-version 1 --images dicom_folder"
        ),
    ),
    "regions": Command(
        module="unweight.cli.regions",
        summary="mean, spread and median of maps in each region of a label image",
        arguments=(
            argument("maps", metavar="MAP", nargs="+", type=Path, help="NIfTI files of one volume"),
            argument("--labels", required=True, type=Path, metavar="FILE", help="NIfTI on the same grid"),
            argument("--names", type=Path, metavar="FILE", help=".tsv (index, name) or JSON of the labels"),
            argument("--mask", type=Path, metavar="FILE", help="NIfTI on the same grid; not 0 inside"),
            argument("--erode", type=int, default=0, metavar="N", help="voxels to take off each region"),
            argument("-o", "--out", type=Path, metavar="TSV", help="write the table to this file"),
        ),
        epilogue="unweight regions sub-1_T1map.nii.gz --labels sub-1_dseg.nii.gz --erode 1 -o regions.tsv",
    ),
    "report": Command(
        module="unweight.cli.report",
        summary="one page for each subject: maps, their quality and limitations, methods",
        arguments=(
            argument("out", metavar="OUT", type=Path, help="folder of maps"),
            argument(
                "--participant-label",
                "--subjects",
                dest="subjects",
                nargs="+",
                type=label,
                metavar="LABEL",
                help="only these subjects",
            ),
        ),
        epilogue="unweight report maps\nunweight report maps --participant-label 01 02",
    ),
    "validate": Command(
        module="unweight.cli.validate",
        summary="read everything, run nothing, say what is wrong",
        arguments=SERIES,
        epilogue="unweight validate bids_tree",
    ),
    "demo": Command(
        module="unweight.cli.demo",
        summary="simulate phantom and head as a BIDS dataset and map them, from files to pages",
        arguments=(
            argument("-o", "--out", type=Path, default=Path("demo"), metavar="DIR", help="default: demo"),
            argument("--snr", type=float, default=50.0, help="PD over noise SD (default 50)"),
            argument("--seed", type=int, default=0, help="of the noise and the head (default 0)"),
            flag("--phantom-only", help="leave the head out"),
        ),
    ),
    "simulate": Command(
        module="unweight.cli.simulate",
        summary="simulate a cohort as a BIDS dataset, with the true maps as derivatives",
        arguments=(
            argument("out", metavar="OUT", type=Path, help="`bids` and `truth` are made in it"),
            argument(
                "--brainweb-dir",
                dest="heads",
                old="--heads",
                type=Path,
                metavar="DIR",
                help="BrainWeb crisp heads; default: procedural heads",
            ),
            argument(
                "--label-map",
                dest="labels",
                old="--labels",
                nargs=2,
                type=Path,
                metavar=("NIFTI", "JSON"),
                help="a label image, and the material of each of its numbers",
            ),
            flag("--mni", help="the MNI152 brain of an installed nilearn"),
            argument(
                "--n-subjects",
                old="--subjects",
                type=int,
                default=1,
                metavar="N",
                help="how many (default 1)",
            ),
            argument(
                "--contrast",
                default="ir",
                choices=("ir", "routine", "megre"),
                help="inversion recovery; T1w, T2w and FLAIR; multi-echo gradient echo and MPRAGE",
            ),
            *SIMULATED_MODEL,
            argument(
                "--protocol",
                default="fixed",
                choices=("fixed", "random"),
                help="published or random, legal",
            ),
            argument(
                "--snr",
                nargs=2,
                type=float,
                default=(30.0, 100.0),
                metavar=("LOW", "HIGH"),
                help="brightest volume over noise SD (default 30 100)",
            ),
            argument(
                "--slices",
                type=int,
                metavar="N",
                help="only N slices in the middle of the brain; not for megre",
            ),
            flag("--lesions", help="add multiple-sclerosis plaques"),
            flag("--motion", help="let some heads move between volumes (inversion recovery)"),
            argument("--seed", type=int, default=0, help="seed of all random numbers (default 0)"),
        ),
        epilogue=(
            "unweight simulate study --n-subjects 4 --slices 8\n"
            "unweight simulate study --brainweb-dir brainweb_folder --contrast megre"
        ),
    ),
    "train": TRAIN,
    "evaluate": EVALUATE,
    "doctor": Command(
        module="unweight.cli.doctor",
        summary="versions, threads, device, memory: what to send with a question",
        arguments=(),
    ),
}
