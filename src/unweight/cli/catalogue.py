"""The one list of names: every command, with its arguments, and every method a command can use."""

from pathlib import Path

from unweight.cli.arguments import DEVICE, EXAMINATION, NO_FIGURES, OUT, SERIES, argument, flag
from unweight.cli.command import Command
from unweight.cli.echo_commands import (
    OWN_SUSCEPTIBILITY,
    QSM,
    QSM_COMPARED,
    QSM_SETS,
    R2STAR,
    T2,
)

T1_METHODS = ("auto", "posterior", "ml", "diffusor", "rim", "resnet")
T1_COMPARED = ("ml", "posterior", "resnet", "rim", "diffusor")
T1_SETS = (
    "phantom",
    "brains",
    "brains-other",
    "brains-blurred",
    "scattered",
    "detail",
    "stability",
)
MAPS_COMPARED = ("physics", "unet", "pgan", "no-embedding", "embedding")
MAPS_SETS = ("internal", "protocols", "field", "lesions")
TRAINED = (
    *("t1-posterior", "t1-residual", "t1-resnet", "t1-rim", "t1-diffusor"),
    *("maps", "maps-no-embedding", "maps-unet", "maps-pgan"),
)


COMMANDS = {
    "t1": Command(
        module="unweight.cli.t1",
        summary="T1, PD and inversion efficiency from inversion-recovery images",
        arguments=(
            *SERIES,
            OUT,
            argument(
                "--method",
                choices=T1_METHODS,
                default="auto",
                help="posterior: fit, then one pass of a network, with 90 %% intervals; ml: maximum "
                "likelihood; diffusor, rim, resnet: as published; auto (default): posterior where it was "
                "trained for the protocol, else ml",
            ),
            argument("--weights", type=Path, metavar="DIR", help="weights that `unweight train` wrote"),
            argument(
                "--draws", type=int, metavar="N", help="maps to draw, of the posterior or the diffusor"
            ),
            argument("--steps", type=int, metavar="N", help="steps of each draw of the diffusor"),
            argument(
                "--efficiency",
                type=float,
                metavar="B",
                help="hold the inversion efficiency at this value (2 is complete)",
            ),
            argument(
                "--efficiency-range",
                nargs=2,
                type=float,
                metavar=("LOW", "HIGH"),
                help="search the inversion efficiency in this range (default 0.5 3)",
            ),
            flag(
                "--pulse-efficiency",
                help="let the TR term follow B; default: complete inversion behind it",
            ),
            argument("--noise-sd", type=float, metavar="S", help="noise of one channel, if you know it"),
            DEVICE,
            NO_FIGURES,
        ),
        epilogue=(
            "unweight t1 dicom_folder -o maps\n"
            "unweight t1 bids_tree -o maps --subjects 01 02\n"
            "unweight t1 ir.nii.gz --ti 0.05 0.4 1.1 2.5 --tr 2.55 -o maps"
        ),
    ),
    "maps": Command(
        module="unweight.cli.maps",
        summary="T1, T2 and PD from routine T1w, T2w and FLAIR",
        arguments=(
            *EXAMINATION,
            OUT,
            argument(
                "--method",
                choices=MAPS_COMPARED,
                default="embedding",
                help="embedding (default): a network told how the images were made; no-embedding, unet, "
                "pgan: networks that are not; physics: each voxel by itself",
            ),
            argument("--weights", type=Path, metavar="DIR", help="weights that `unweight train` wrote"),
            DEVICE,
            NO_FIGURES,
        ),
        epilogue=(
            "unweight maps bids_tree -o maps\n"
            "unweight maps --t1w T1w.nii.gz --t2w T2w.nii.gz --flair FLAIR.nii.gz -o maps\n"
            "unweight maps --t1w a.nii.gz --t1w-tr 0.6 --t1w-te 0.012 --t2w b.nii.gz --t2w-tr 5 "
            "--t2w-te 0.1 --field 3 -o maps"
        ),
    ),
    "r2star": R2STAR,
    "t2": T2,
    "qsm": QSM,
    "phantom": Command(
        module="unweight.cli.phantom",
        summary="table of the NIST/ISMRM system phantom's spheres from T1 maps",
        arguments=(
            argument("out", metavar="OUT", type=Path, help="folder of maps that `unweight t1` wrote"),
            argument(
                "--version",
                dest="phantom_version",
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
                "--radius", type=float, default=4.5, metavar="MM", help="of the region in each sphere [mm]"
            ),
            argument(
                "--field", type=float, metavar="T", help="field strength [T], if the files do not say"
            ),
        ),
        epilogue=(
            "unweight phantom maps --version 2\nunweight phantom maps --version 1 --images dicom_folder"
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
    "validate": Command(
        module="unweight.cli.validate",
        summary="read everything, run nothing, say what is wrong",
        arguments=SERIES,
        epilogue="unweight validate bids_tree",
    ),
    "demo": Command(
        module="unweight.cli.demo",
        summary="simulate the phantom as a BIDS dataset and map it, from files to pictures",
        arguments=(
            argument("-o", "--out", type=Path, default=Path("demo"), metavar="DIR", help="default: demo"),
            argument("--snr", type=float, default=50.0, help="PD over noise SD (default 50)"),
            argument("--seed", type=int, default=0, help="of the noise (default 0)"),
        ),
    ),
    "simulate": Command(
        module="unweight.cli.simulate",
        summary="simulate a cohort as a BIDS dataset, with the true maps as derivatives",
        arguments=(
            argument("out", metavar="OUT", type=Path, help="`bids` and `truth` are made in it"),
            argument(
                "--heads", type=Path, metavar="DIR", help="BrainWeb crisp heads; default: procedural heads"
            ),
            argument(
                "--labels",
                nargs=2,
                type=Path,
                metavar=("NIFTI", "JSON"),
                help="a label image, and the material of each of its numbers",
            ),
            flag("--mni", help="the MNI152 brain of an installed nilearn"),
            argument("--subjects", type=int, default=1, metavar="N", help="how many (default 1)"),
            argument(
                "--contrast",
                default="ir",
                choices=("ir", "routine", "megre"),
                help="inversion recovery; T1w, T2w and FLAIR; multi-echo gradient echo and MPRAGE",
            ),
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
            argument("--seed", type=int, default=0, help="of everything (default 0)"),
        ),
        epilogue=(
            "unweight simulate study --subjects 4 --slices 8\n"
            "unweight simulate study --heads brainweb_folder --contrast megre"
        ),
    ),
    "train": Command(
        module="unweight.cli.train",
        summary="train a network for T1, or for T1, T2 and PD maps; a stopped training goes on",
        arguments=(
            argument("method", metavar="METHOD", choices=TRAINED, help=", ".join(TRAINED)),
            OUT,
            argument(
                "--preset",
                default="cpu",
                choices=("cpu", "gpu", "paper"),
                help="cpu: about an hour on two cores (default); paper: as published, where it was",
            ),
            argument(
                "--heads", type=Path, metavar="DIR", help="BrainWeb crisp heads; default: procedural heads"
            ),
            argument(
                "--ti", nargs="+", type=float, metavar="S", help="train for these inversion times [s]"
            ),
            argument("--tr", type=float, metavar="S", help="their repetition time [s]"),
            argument(
                "--readout-time",
                type=float,
                metavar="S",
                help="their excitation to last echo [s] (default 0)",
            ),
            argument(
                "--like",
                nargs="+",
                type=Path,
                metavar="INPUT",
                help="take these times from images or sidecars; --ti, --tr and --readout-time go before",
            ),
            argument(
                "--minutes",
                type=float,
                metavar="M",
                help="so many steps as take about this long here, without the making of slabs",
            ),
            argument("--steps", type=int, metavar="N", help="steps of the training"),
            argument("--slabs", type=int, metavar="N", help="slabs to train on"),
            argument("--seed", type=int, default=0, help="of everything (default 0)"),
            argument(
                "--base",
                type=Path,
                metavar="DIR",
                help="the posterior whose draws t1-residual learns (default: the shipped one)",
            ),
            argument(
                "--from",
                dest="start",
                metavar="DIR",
                help="start from the weights in a folder, or from the `shipped` ones",
            ),
            argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to train"),
            argument(
                "--workers", type=int, metavar="N", help="processes that make slabs (default: one per core)"
            ),
        ),
        epilogue=(
            "unweight train t1-posterior -o weights --minutes 30\n"
            "unweight train t1-posterior -o weights --ti 0.05 0.4 1.1 2.5 --tr 2.55\n"
            "unweight train t1-resnet -o weights --like dicom_folder --heads brainweb_folder\n"
            "unweight train maps -o weights --heads brainweb_folder\n"
            "torchrun --nproc-per-node 4 -m unweight.cli.main train t1-posterior -o weights --preset gpu"
        ),
    ),
    "evaluate": Command(
        module="unweight.cli.evaluate",
        summary="every method side by side on simulated and your own data: scores, tables, pictures",
        arguments=(
            argument(
                "what",
                choices=("t1", "maps", "qsm"),
                help="t1: from inversion recovery; maps: T1, T2 and PD from weighted images; qsm: R2* and "
                "susceptibility from multi-echo gradient echo",
            ),
            argument(
                "-o",
                "--out",
                required=True,
                type=Path,
                metavar="DIR",
                help="scores.tsv and the pictures go here",
            ),
            argument(
                "--methods",
                nargs="+",
                choices=(*T1_COMPARED, *MAPS_COMPARED, *QSM_COMPARED),
                metavar="METHOD",
                help=f"of t1: {', '.join(T1_COMPARED)}; of maps: {', '.join(MAPS_COMPARED)}; of qsm: "
                f"{QSM_COMPARED[0]} and other pairs; default: all that there are weights for",
            ),
            argument(
                "--weights", type=Path, metavar="DIR", help="folder of weights; default: the package's own"
            ),
            argument(
                "--sets",
                nargs="*",
                choices=(*T1_SETS, *MAPS_SETS, *QSM_SETS),
                metavar="SET",
                help=f"simulated sets; default: all of them; of t1: {', '.join(T1_SETS)}; of maps: "
                f"{', '.join(MAPS_SETS)}; of qsm: {', '.join(QSM_SETS)}",
            ),
            argument(
                "--heads",
                type=Path,
                metavar="DIR",
                help="BrainWeb crisp heads, of which the test part is used; default: procedural heads",
            ),
            argument(
                "--phantom",
                nargs="+",
                type=Path,
                metavar="DIR",
                help="t1: series of real system phantoms; methods are compared with ml in each sphere",
            ),
            argument(
                "--phantom-version",
                type=int,
                choices=(1, 2),
                help="t1: of the real phantoms; 1: serial number up to 0041; 2: from 0042",
            ),
            argument(
                "--brain",
                nargs="+",
                type=Path,
                metavar="INPUT",
                help="t1: a real series: BIDS tree, folder or NIfTI; methods are compared with ml",
            ),
            argument("--ti", nargs="+", type=float, metavar="S", help="t1: inversion times of --brain [s]"),
            argument("--tr", nargs="+", type=float, metavar="S", help="t1: repetition time of --brain [s]"),
            argument(
                "--seeds",
                type=int,
                metavar="N",
                help="t1: noise seeds of the phantom and of small structures (default 5, quick 1)",
            ),
            argument(
                "--draws",
                type=int,
                metavar="N",
                help="t1: draws of the diffusor; default: as its card says",
            ),
            argument(
                "--steps", type=int, metavar="N", help="t1: steps of each draw; default: as its card says"
            ),
            *OWN_SUSCEPTIBILITY,
            flag("--quick", help="one head, a slice or two, one seed: to see that it runs"),
        ),
        epilogue=(
            "unweight evaluate t1 -o scores\n"
            "unweight evaluate t1 -o scores --heads brainweb_folder --draws 4 --steps 100\n"
            "unweight evaluate t1 -o scores --sets phantom --phantom dicom_folder --phantom-version 2\n"
            "unweight evaluate maps -o scores --heads brainweb_folder\n"
            "unweight evaluate qsm -o scores --heads brainweb_folder"
        ),
    ),
    "doctor": Command(
        module="unweight.cli.doctor",
        summary="versions, threads, device, memory: what to send with a question",
        arguments=(),
    ),
}
