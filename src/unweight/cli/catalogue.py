"""The one list of names: every command, with its arguments, and every method a command can use."""

from pathlib import Path

from unweight.cli.arguments import (
    FIELD,
    SERIES,
    SHARED_ASSETS,
    SUBJECTS,
    Command,
    argument,
    flag,
    label,
)
from unweight.cli.contrast_command import CONTRAST
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
from unweight.cli.segment_command import SEGMENT
from unweight.cli.study_commands import INIT, RUN, SLURM

COMMANDS = {
    "t1": T1,
    "maps": MAPS,
    "r2star": R2STAR,
    "t2": T2,
    "qsm": QSM,
    "mprage": MPRAGE,
    "contrast": CONTRAST,
    "segment": SEGMENT,
    "run": RUN,
    "init": INIT,
    "slurm": SLURM,
    "fit": FIT,
    **FIT_OF_MODEL,
    "phantom": Command(
        module="unweight.cli.phantom",
        summary="measured and nominal T1 of the spheres of the NIST/ISMRM system phantom",
        arguments=(
            argument("out", metavar="OUT", type=Path, help="output folder of `unweight t1`"),
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
                help="source images of the T1 maps; adds a fit of the mean signal of each sphere",
            ),
            argument(
                "--plate", type=int, choices=(4, 5), help="4: MnCl2, 5: NiCl2; default: detected from T1"
            ),
            argument(
                "--radius",
                dest="radius_mm",
                type=float,
                default=4.5,
                metavar="MM",
                help="radius of the region of interest in each sphere [mm] (default 4.5)",
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
        summary="mean, SD and median of maps in each region of a label image",
        arguments=(
            argument("maps", metavar="MAP", nargs="+", type=Path, help="3D NIfTI files"),
            argument(
                "--labels",
                required=True,
                type=Path,
                metavar="FILE",
                help="label image, NIfTI or .mgz; resampled if it is on another grid in the space of the "
                "scanner",
            ),
            argument(
                "--names",
                type=Path,
                metavar="FILE",
                help="names of the labels: .tsv (index, name), JSON, or a colour table of FreeSurfer",
            ),
            argument(
                "--mask",
                type=Path,
                metavar="FILE",
                help="mask, NIfTI on the grid of the maps; nonzero inside",
            ),
            argument(
                "--erode",
                type=int,
                default=0,
                metavar="N",
                help="voxels to remove at region boundaries (default 0)",
            ),
            argument("-o", "--out", type=Path, metavar="TSV", help="output file; default: print the table"),
        ),
        epilogue="unweight regions sub-1_T1map.nii.gz --labels sub-1_dseg.nii.gz --erode 1 -o regions.tsv",
    ),
    "report": Command(
        module="unweight.cli.report",
        summary="write an HTML report for each subject: maps, quality and limitations, methods",
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
            SHARED_ASSETS,
        ),
        epilogue="unweight report maps\nunweight report maps --participant-label 01 02",
    ),
    "cite": Command(
        module="unweight.cli.cite",
        summary="print methods paragraphs of a folder of maps and write their references as CITATION.bib",
        arguments=(argument("out", metavar="OUT", type=Path, help="folder of maps"),),
        epilogue="unweight cite maps",
    ),
    "validate": Command(
        module="unweight.cli.validate",
        summary="read and check all images without computing maps",
        arguments=SERIES,
        epilogue="unweight validate bids_tree",
    ),
    "demo": Command(
        module="unweight.cli.demo",
        summary="simulate a phantom and a head as a BIDS dataset, map them and write reports",
        arguments=(
            argument(
                "-o",
                "--out",
                type=Path,
                default=Path("demo"),
                metavar="DIR",
                help="output folder (default demo)",
            ),
            argument(
                "--snr", type=float, default=50.0, help="SNR, PD divided by the noise SD (default 50)"
            ),
            argument("--seed", type=int, default=0, help="random seed of noise and head (default 0)"),
            flag("--phantom-only", help="omit the head"),
        ),
    ),
    "simulate": Command(
        module="unweight.cli.simulate",
        summary="simulate a cohort as a BIDS dataset, with the true maps as derivatives",
        arguments=(
            argument(
                "out", metavar="OUT", type=Path, help="output folder; `bids` and `truth` are created in it"
            ),
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
                help="label image, and JSON file with the material of each label",
            ),
            flag("--mni", help="use the MNI152 brain of an installed nilearn"),
            argument(
                "--n-subjects",
                old="--subjects",
                type=int,
                default=1,
                metavar="N",
                help="number of subjects (default 1)",
            ),
            argument(
                "--contrast",
                default="ir",
                choices=("ir", "routine", "megre"),
                help="ir: inversion recovery (default); routine: T1w, T2w and FLAIR; megre: multi-echo "
                "gradient echo and MPRAGE",
            ),
            *SIMULATED_MODEL,
            argument(
                "--protocol",
                default="fixed",
                choices=("fixed", "random"),
                help="fixed: published protocol (default); random: random protocol within scanner limits",
            ),
            argument(
                "--snr",
                nargs=2,
                type=float,
                default=(30.0, 100.0),
                metavar=("LOW", "HIGH"),
                help="range of the SNR of the brightest volume (default 30 100)",
            ),
            argument(
                "--slices",
                type=int,
                metavar="N",
                help="simulate only N central slices; not for megre",
            ),
            flag("--lesions", help="add multiple-sclerosis plaques"),
            flag("--motion", help="add motion between volumes to some heads (inversion recovery)"),
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
        summary="print versions, threads, device and memory, for bug reports",
        arguments=(),
    ),
    "completion": Command(
        module="unweight.cli.completion",
        summary="print a script that lets the shell complete commands, options and paths",
        arguments=(argument("shell", choices=("bash", "zsh", "fish"), help="shell that reads the script"),),
        epilogue=(
            "unweight completion bash > ~/.local/share/bash-completion/completions/unweight\n"
            "unweight completion zsh > ~/.zfunc/_unweight\n"
            "unweight completion fish > ~/.config/fish/completions/unweight.fish"
        ),
    ),
}
