"""Commands that train networks and compare methods."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from unweight.cli.arguments import Command, argument, flag
from unweight.registry import benchmarks, compared_names, datasets, trained_methods, usage

TRAINED = tuple(item.weights for item in trained_methods())
OF_T1, OF_WEIGHTED, OF_MPRAGE, OF_STRUCTURES = (
    tuple(item.weights for item in trained_methods() if item.family == family)
    for family in ("t1", "weighted", "mprage", "segmentation")
)
OF_SLABS, OF_PAIRS = (*OF_T1, *OF_WEIGHTED), (*OF_MPRAGE, *OF_STRUCTURES)
WITH_BASE = tuple(item.weights for item in trained_methods() if item.base)
COMPARED = {item.command: compared_names(item.family) for item in benchmarks()}
DATASETS = {item.command: datasets(item.family) for item in benchmarks()}


MOST_LISTED = 8


OWN_SUSCEPTIBILITY = (
    argument(
        "--chi", only=("qsm",), type=Path, metavar="FILE", help="susceptibility map to evaluate [ppm]"
    ),
    argument(
        "--truth",
        only=("qsm",),
        type=Path,
        metavar="FILE",
        help="reference susceptibility map for --chi [ppm]",
    ),
    argument("--chi-mask", only=("qsm",), type=Path, metavar="FILE", help="mask for --chi, nonzero inside"),
    argument(
        "--chi-labels",
        only=("qsm",),
        type=Path,
        metavar="FILE",
        help="label image for --chi, with the labels of the QSM challenge",
    ),
)
OWN_T1W = (
    argument(
        "--n-subjects",
        dest="people",
        old="--people",
        only=("mprage",),
        type=int,
        metavar="N",
        help="simulated subjects per data set (default 60 for the healthy set, 4 for others)",
    ),
    argument(
        "--pairs",
        only=("mprage",),
        type=Path,
        metavar="DIR",
        help="folder for simulated subjects",
    ),
    argument(
        "--test-bids-dir",
        dest="bids",
        old="--bids",
        only=("mprage",),
        type=Path,
        metavar="DIR",
        help="also evaluate on the MEGRE and T1w images of this BIDS dataset",
    ),
    argument(
        "--t1w",
        only=("mprage",),
        type=Path,
        metavar="FILE",
        help="real T1w image to show for comparison",
    ),
    argument(
        "--segmenter",
        only=("mprage",),
        choices=("own", "synthseg", "fastsurfer"),
        help="segmentation method for true and synthetic images (default own)",
    ),
    argument(
        "--workers",
        only=("mprage",),
        type=int,
        metavar="N",
        help="number of simulation processes (default: one per core)",
    ),
)


def _each(lists: Mapping[str, Sequence[str]]) -> str:
    """Return the names of each command, in words; of many pairs the first."""
    texts = {
        command: ", ".join(names) if len(names) <= MOST_LISTED else f"{names[0]} and other pairs"
        for command, names in lists.items()
    }
    return "; ".join(f"of {command}: {text}" for command, text in texts.items())


TRAIN = Command(
    module="unweight.cli.training.command",
    kinds="method",
    summary="train a network; repeat the command to resume an interrupted training run",
    arguments=(
        argument(
            "method",
            metavar="METHOD",
            choices=TRAINED,
            help="network, with the command that uses it: "
            + "; ".join(f"{item.weights} ({usage(item)})" for item in trained_methods()),
        ),
        argument(
            "-o",
            "--out",
            required=True,
            type=Path,
            metavar="DIR",
            help="output directory for the weights; created if absent",
        ),
        argument(
            "--preset",
            default="cpu",
            choices=("cpu", "gpu", "paper"),
            help="cpu: about an hour on two cores (default); gpu: more data and steps, for a GPU; paper: "
            "published configuration, where there is one",
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
            "--ti",
            only=OF_T1,
            nargs="+",
            type=float,
            metavar="S",
            help="inversion times to train for [s]",
        ),
        argument("--tr", only=OF_T1, type=float, metavar="S", help="repetition time to train for [s]"),
        argument(
            "--readout-time",
            only=OF_T1,
            type=float,
            metavar="S",
            help="time from excitation to last echo to train for [s] (default 0)",
        ),
        argument(
            "--protocol-from",
            dest="like",
            old="--like",
            only=OF_T1,
            nargs="+",
            type=Path,
            metavar="INPUT",
            help="read these times from images or sidecars; --ti, --tr and --readout-time take precedence",
        ),
        argument(
            "--minutes",
            type=float,
            metavar="M",
            help="time of the whole command in minutes: simulation (with fewer slabs or subjects if "
            "necessary), training and evaluation",
        ),
        argument("--steps", type=int, metavar="N", help="number of training steps"),
        argument(
            "--slabs", only=OF_SLABS, type=int, metavar="N", help="number of simulated slabs to train on"
        ),
        argument(
            "--bids-dir",
            dest="bids",
            old="--bids",
            only=OF_PAIRS,
            type=Path,
            metavar="DIR",
            help="train on the MEGRE and T1w images of this BIDS dataset instead of simulation",
        ),
        argument(
            "--labels-dir",
            dest="labels",
            old="--labels",
            only=OF_STRUCTURES,
            type=Path,
            metavar="DIR",
            help="derivatives of --bids-dir with a `dseg` image for each T1w image",
        ),
        argument(
            "--n-subjects",
            dest="people",
            old="--people",
            only=OF_PAIRS,
            nargs=2,
            type=int,
            metavar=("TRAIN", "VALIDATION"),
            help="number of simulated subjects for training and validation (default 40 and 5)",
        ),
        argument(
            "--pairs",
            only=OF_PAIRS,
            type=Path,
            metavar="DIR",
            help="folder for the training data (default: in the training folder)",
        ),
        argument("--seed", type=int, default=0, help="seed of all random numbers (default 0)"),
        argument(
            "--base",
            only=WITH_BASE,
            type=Path,
            metavar="DIR",
            help="folder of weights that this method builds on: t1-posterior for t1-residual (default: "
            "shipped weights), mprage-unet for mprage (default: trained first)",
        ),
        argument(
            "--from",
            dest="start",
            metavar="DIR",
            help="initial weights: a folder, or `shipped`",
        ),
        argument(
            "--device",
            default="auto",
            choices=("auto", "cpu", "cuda"),
            help="computing device (default auto: GPU if available)",
        ),
        argument(
            "--compare-with",
            metavar="DIR",
            help="evaluate other weights on the same held-out samples: a folder, or `shipped`",
        ),
        argument(
            "--precision",
            default="auto",
            choices=("auto", "float32", "bfloat16"),
            help="precision of the loss; auto (default): bfloat16 if preset and hardware support it or a "
            "trial shows that it is faster",
        ),
        argument(
            "--workers",
            type=int,
            metavar="N",
            help="number of processes that simulate slabs (default: one per core)",
        ),
    ),
    epilogue=(
        "unweight train t1-posterior -o weights --minutes 30\n"
        "unweight train t1-posterior -o weights --ti 0.05 0.4 1.1 2.5 --tr 2.55\n"
        "unweight train t1-resnet -o weights --protocol-from dicom_folder --brainweb-dir brainweb_folder\n"
        "unweight train maps -o weights --brainweb-dir brainweb_folder\n"
        "unweight train mprage -o weights --bids-dir bids_tree\n"
        "unweight train structures -o weights --n-subjects 40 5\n"
        "torchrun --nproc-per-node 4 -m unweight.cli.main train t1-posterior -o weights --preset gpu"
    ),
)
EVALUATE = Command(
    module="unweight.cli.evaluate",
    kinds="what",
    summary="compare all methods on simulated data and on your own: scores, tables, figures",
    arguments=(
        argument(
            "what",
            choices=tuple(DATASETS),
            help="; ".join(f"{item.command}: {item.compares}" for item in benchmarks()),
        ),
        argument(
            "-o",
            "--out",
            required=True,
            type=Path,
            metavar="DIR",
            help="output folder for scores.tsv and figures",
        ),
        argument(
            "--methods",
            nargs="+",
            choices=tuple(name for names in COMPARED.values() for name in names),
            metavar="METHOD",
            help=f"{_each(COMPARED)}; default: all with weights",
        ),
        argument(
            "--weights", type=Path, metavar="DIR", help="folder of weights; default: those of the package"
        ),
        argument(
            "--datasets",
            dest="sets",
            old="--sets",
            nargs="*",
            choices=tuple(name for names in DATASETS.values() for name in names),
            metavar="SET",
            help=f"simulated data sets; default: all; {_each(DATASETS)}",
        ),
        argument(
            "--metrics",
            nargs="+",
            metavar="METRIC",
            help="metrics, by their names in scores.tsv, or any other metric that the images or labels "
            "allow; default: the metrics of each evaluation",
        ),
        argument(
            "--brainweb-dir",
            dest="heads",
            old="--heads",
            type=Path,
            metavar="DIR",
            help="BrainWeb crisp heads (the test heads are used); default: procedural heads",
        ),
        argument(
            "--phantom",
            only=("t1",),
            nargs="+",
            type=Path,
            metavar="DIR",
            help="series of real system phantoms; compares the methods with ml in each sphere",
        ),
        argument(
            "--phantom-version",
            only=("t1",),
            type=int,
            choices=(1, 2),
            help="version of the real phantoms; 1: serial number up to 0041; 2: from 0042",
        ),
        argument(
            "--brain",
            only=("t1",),
            nargs="+",
            type=Path,
            metavar="INPUT",
            help="real series (BIDS dataset, folder or NIfTI); compares the methods with ml",
        ),
        argument("--ti", only=("t1",), nargs="+", type=float, metavar="S", help="TI of --brain [s]"),
        argument("--tr", only=("t1",), nargs="+", type=float, metavar="S", help="TR of --brain [s]"),
        argument(
            "--seeds",
            only=("t1",),
            type=int,
            metavar="N",
            help="number of noise seeds for phantom and small structures (default 5, with --quick 1)",
        ),
        argument(
            "--draws",
            only=("t1",),
            type=int,
            metavar="N",
            help="number of samples of the diffusor; default: from its model card",
        ),
        argument(
            "--steps",
            only=("t1",),
            type=int,
            metavar="N",
            help="diffusion steps per sample; default: from the model card",
        ),
        *OWN_SUSCEPTIBILITY,
        *OWN_T1W,
        flag("--quick", help="one head, one or two slices, one seed: to test that it runs"),
    ),
    epilogue=(
        "unweight evaluate t1 -o scores\n"
        "unweight evaluate t1 -o scores --brainweb-dir brainweb_folder --draws 4 --steps 100\n"
        "unweight evaluate t1 -o scores --datasets phantom --phantom dicom_folder --phantom-version 2\n"
        "unweight evaluate maps -o scores --brainweb-dir brainweb_folder\n"
        "unweight evaluate qsm -o scores --brainweb-dir brainweb_folder\n"
        "unweight evaluate mprage -o scores --brainweb-dir brainweb_folder --t1w T1w.nii.gz"
    ),
)
