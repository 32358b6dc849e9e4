"""Commands that train networks and compare methods."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from unweight.cli.arguments import Command, argument, flag
from unweight.registry import benchmarks, compared_names, datasets, trained_methods

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
    argument("--chi", only=("qsm",), type=Path, metavar="FILE", help="score this susceptibility map [ppm]"),
    argument("--truth", only=("qsm",), type=Path, metavar="FILE", help="against this one"),
    argument("--chi-mask", only=("qsm",), type=Path, metavar="FILE", help="where it is not 0"),
    argument(
        "--chi-labels", only=("qsm",), type=Path, metavar="FILE", help="with labels of the QSM challenge"
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
        help="simulated subjects of each set (default 60, of others 4)",
    ),
    argument(
        "--pairs",
        only=("mprage",),
        type=Path,
        metavar="DIR",
        help="where simulated subjects are kept",
    ),
    argument(
        "--test-bids-dir",
        dest="bids",
        old="--bids",
        only=("mprage",),
        type=Path,
        metavar="DIR",
        help="a tree with MEGRE and T1w to score on too",
    ),
    argument(
        "--t1w",
        only=("mprage",),
        type=Path,
        metavar="FILE",
        help="a real T1w image to look at beside them",
    ),
    argument(
        "--segmenter",
        only=("mprage",),
        choices=("own", "synthseg", "fastsurfer"),
        help="what finds structures, in true and synthesised images alike (default own)",
    ),
    argument(
        "--workers",
        only=("mprage",),
        type=int,
        metavar="N",
        help="processes that simulate (default: one each core)",
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
    module="unweight.cli.train",
    kinds="method",
    summary="train a network for T1, for T1, T2 and PD, or for T1w images; resumes if interrupted",
    arguments=(
        argument("method", metavar="METHOD", choices=TRAINED, help=", ".join(TRAINED)),
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
            help="cpu: about an hour on two cores (default); paper: as published, where it was",
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
            help="train for these inversion times [s]",
        ),
        argument("--tr", only=OF_T1, type=float, metavar="S", help="their repetition time [s]"),
        argument(
            "--readout-time",
            only=OF_T1,
            type=float,
            metavar="S",
            help="their excitation to last echo [s] (default 0)",
        ),
        argument(
            "--protocol-from",
            dest="like",
            old="--like",
            only=OF_T1,
            nargs="+",
            type=Path,
            metavar="INPUT",
            help="take these times from images or sidecars; --ti, --tr and --readout-time go before",
        ),
        argument(
            "--minutes",
            type=float,
            metavar="M",
            help="approximate training time in minutes, without the simulation of slabs",
        ),
        argument("--steps", type=int, metavar="N", help="steps of the training"),
        argument("--slabs", only=OF_SLABS, type=int, metavar="N", help="slabs to train on"),
        argument(
            "--bids-dir",
            dest="bids",
            old="--bids",
            only=OF_PAIRS,
            type=Path,
            metavar="DIR",
            help="learn from the MEGRE and T1w of this tree, not from simulation",
        ),
        argument(
            "--labels-dir",
            dest="labels",
            old="--labels",
            only=OF_STRUCTURES,
            type=Path,
            metavar="DIR",
            help="derivatives of --bids-dir with a `dseg` on each T1w",
        ),
        argument(
            "--n-subjects",
            dest="people",
            old="--people",
            only=OF_PAIRS,
            nargs=2,
            type=int,
            metavar=("TRAIN", "VALIDATION"),
            help="simulated subjects (default 40 and 5)",
        ),
        argument(
            "--pairs",
            only=OF_PAIRS,
            type=Path,
            metavar="DIR",
            help="where what is learned from is kept (default: with the training)",
        ),
        argument("--seed", type=int, default=0, help="seed of all random numbers (default 0)"),
        argument(
            "--base",
            only=WITH_BASE,
            type=Path,
            metavar="DIR",
            help="the posterior whose draws t1-residual learns (default: the shipped one); the mprage-unet "
            "whose residual mprage learns (default: trained first)",
        ),
        argument(
            "--from",
            dest="start",
            metavar="DIR",
            help="start from the weights in a folder, or from the `shipped` ones",
        ),
        argument(
            "--compare-with",
            metavar="DIR",
            help="score the weights in a folder, or the `shipped` ones, on the same held-out samples",
        ),
        argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to train"),
        argument(
            "--precision",
            default="auto",
            choices=("auto", "float32", "bfloat16"),
            help="what losses are computed in; auto: bfloat16 where preset and hardware have it, or where "
            "a trial shows it faster (default)",
        ),
        argument(
            "--workers", type=int, metavar="N", help="processes that make slabs (default: one per core)"
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
    summary="every method side by side on simulated and your own data: scores, tables, pictures",
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
            help="scores.tsv and the pictures go here",
        ),
        argument(
            "--methods",
            nargs="+",
            choices=tuple(name for names in COMPARED.values() for name in names),
            metavar="METHOD",
            help=f"{_each(COMPARED)}; default: all that there are weights for",
        ),
        argument(
            "--weights", type=Path, metavar="DIR", help="folder of weights; default: the package's own"
        ),
        argument(
            "--datasets",
            dest="sets",
            old="--sets",
            nargs="*",
            choices=tuple(name for names in DATASETS.values() for name in names),
            metavar="SET",
            help=f"simulated sets; default: all of them; {_each(DATASETS)}",
        ),
        argument(
            "--metrics",
            nargs="+",
            metavar="METRIC",
            help="what to score, by the names in scores.tsv or any other metric that the images or labels "
            "allow; default: the metrics of each evaluation",
        ),
        argument(
            "--brainweb-dir",
            dest="heads",
            old="--heads",
            type=Path,
            metavar="DIR",
            help="BrainWeb crisp heads, of which the test part is used; default: procedural heads",
        ),
        argument(
            "--phantom",
            only=("t1",),
            nargs="+",
            type=Path,
            metavar="DIR",
            help="series of real system phantoms; methods are compared with ml in each sphere",
        ),
        argument(
            "--phantom-version",
            only=("t1",),
            type=int,
            choices=(1, 2),
            help="of the real phantoms; 1: serial number up to 0041; 2: from 0042",
        ),
        argument(
            "--brain",
            only=("t1",),
            nargs="+",
            type=Path,
            metavar="INPUT",
            help="a real series: BIDS tree, folder or NIfTI; methods are compared with ml",
        ),
        argument("--ti", only=("t1",), nargs="+", type=float, metavar="S", help="TI of --brain [s]"),
        argument("--tr", only=("t1",), nargs="+", type=float, metavar="S", help="TR of --brain [s]"),
        argument(
            "--seeds",
            only=("t1",),
            type=int,
            metavar="N",
            help="noise seeds of the phantom and of small structures (default 5, quick 1)",
        ),
        argument(
            "--draws",
            only=("t1",),
            type=int,
            metavar="N",
            help="draws of the diffusor; default: as its card says",
        ),
        argument(
            "--steps",
            only=("t1",),
            type=int,
            metavar="N",
            help="steps of each draw; default: as its card says",
        ),
        *OWN_SUSCEPTIBILITY,
        *OWN_T1W,
        flag("--quick", help="one head, a slice or two, one seed: to see that it runs"),
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
