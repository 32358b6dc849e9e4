"""Commands that train networks and compare methods."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from unweight.cli.arguments import OUT, Command, argument, flag
from unweight.registry import benchmarks, compared_names, datasets, trained_methods

TRAINED = tuple(item.weights for item in trained_methods())
COMPARED = {item.command: compared_names(item.family) for item in benchmarks()}
DATASETS = {item.command: datasets(item.family) for item in benchmarks()}


MOST_LISTED = 8


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


def _each(lists: Mapping[str, Sequence[str]]) -> str:
    """Return the names of each command, in words; of many pairs the first."""
    texts = {
        command: ", ".join(names) if len(names) <= MOST_LISTED else f"{names[0]} and other pairs"
        for command, names in lists.items()
    }
    return "; ".join(f"of {command}: {text}" for command, text in texts.items())


TRAIN = Command(
    module="unweight.cli.train",
    summary="train a network for T1, for T1, T2 and PD, or for T1w images; a stopped training goes on",
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
        argument("--ti", nargs="+", type=float, metavar="S", help="train for these inversion times [s]"),
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
        argument(
            "--bids",
            type=Path,
            metavar="DIR",
            help="mprage and structures: learn from the MEGRE and T1w of this tree, not from simulation",
        ),
        argument(
            "--labels",
            type=Path,
            metavar="DIR",
            help="structures: derivatives of --bids with a `dseg` on each T1w",
        ),
        argument(
            "--people",
            nargs=2,
            type=int,
            metavar=("TRAIN", "VALIDATION"),
            help="mprage and structures: simulated people (default 40 and 5)",
        ),
        argument(
            "--pairs",
            type=Path,
            metavar="DIR",
            help="mprage and structures: where what is learned from is kept (default: with the training)",
        ),
        argument("--seed", type=int, default=0, help="of everything (default 0)"),
        argument(
            "--base",
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
        "unweight train t1-resnet -o weights --like dicom_folder --heads brainweb_folder\n"
        "unweight train maps -o weights --heads brainweb_folder\n"
        "unweight train mprage -o weights --bids bids_tree\n"
        "unweight train structures -o weights --people 40 5\n"
        "torchrun --nproc-per-node 4 -m unweight.cli.main train t1-posterior -o weights --preset gpu"
    ),
)
EVALUATE = Command(
    module="unweight.cli.evaluate",
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
            "--sets",
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
        *OWN_T1W,
        flag("--quick", help="one head, a slice or two, one seed: to see that it runs"),
    ),
    epilogue=(
        "unweight evaluate t1 -o scores\n"
        "unweight evaluate t1 -o scores --heads brainweb_folder --draws 4 --steps 100\n"
        "unweight evaluate t1 -o scores --sets phantom --phantom dicom_folder --phantom-version 2\n"
        "unweight evaluate maps -o scores --heads brainweb_folder\n"
        "unweight evaluate qsm -o scores --heads brainweb_folder\n"
        "unweight evaluate mprage -o scores --heads brainweb_folder --t1w T1w.nii.gz"
    ),
)
