"""Mutated inputs through whole commands: a result or one paragraph, and nothing else.

The quick tests draw the same few hundred examples each time; the slow ones ten thousand, with those of
`test_fuzz_dicom`.
"""

import gzip
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bids.files import nifti_bytes, write_nifti
from tests.cli.mutations import HOSTILE, Mutation, apply, mutations
from tests.cli.outcome import called, check_outcome, state

T1_TIMES = (0.05, 0.4, 1.1, 2.5)
ECHO_TIMES = (0.004, 0.010, 0.016)
SHAPE, WEIGHTED_SHAPE = (8, 8, 4), (12, 12, 4)
WIDE = np.array(
    [[-8.0, 0, 0, 10], [0, 8, 0, -20], [0, 0, 9, 5], [0, 0, 0, 1.0]]
)  # few to a sphere of 30 mm
NUMBERS = itertools.count()
FAST = {"t1": ("--method", "ml"), "qsm": ("--inversion", "tkd")}
QUICK = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
QUICK_QSM, QUICK_R2STAR, QUICK_MAPS = (settings(QUICK, max_examples=count) for count in (80, 60, 20))
LONG = settings(QUICK, max_examples=3000, derandomize=False, print_blob=True)
NUMBER = st.sampled_from(("0", "-1", "nan", "inf", "1e400", "0.05", "2.5", "5000", "x", "1e-30", "0x1"))
T1_OPTIONS = st.one_of(
    *[st.just(())] * 5,
    st.tuples(st.just("--ti"), *[NUMBER] * 4),
    st.tuples(st.sampled_from(("--tr", "--te", "--readout-time", "--efficiency", "--noise-sd")), NUMBER),
    st.tuples(st.just("--efficiency-range"), NUMBER, NUMBER),
    st.sampled_from((("--signed",), ("--magnitude",), ("--pulse-efficiency",), ("--draws", "-3"))),
    st.tuples(
        st.just("--subjects"), st.sampled_from(("01", "..", "../..", "a\nb", "\x1b[31m", "", "sub-"))
    ),
    st.tuples(st.just("--mask"), st.sampled_from(("mask.nii", "nothing.nii", "[/x].nii", "a\0b", "."))),
)
QSM_OPTIONS = st.one_of(
    *[st.just(())] * 5,
    st.tuples(st.just("--te"), *[NUMBER] * 3),
    st.tuples(st.sampled_from(("--field", "--quality-limit")), NUMBER),
    st.tuples(st.just("--phase-range"), NUMBER, NUMBER),
    st.tuples(st.just("--b0-direction"), NUMBER, NUMBER, NUMBER),
    st.sampled_from((("--invert-phase",), ("--phase-full-range",), ("--bipolar", "yes"))),
    st.tuples(st.just("--reference"), st.sampled_from(("none", "mean", "csf"))),
    st.tuples(st.just("--background"), st.sampled_from(("vsharp", "resharp", "pdf"))),
    st.tuples(st.just("--inversion"), st.sampled_from(("wtv", "tv", "rts", "tkd", "tikhonov"))),
)
R2STAR_OPTIONS = st.one_of(
    *[st.just(())] * 5,
    st.tuples(st.just("--te"), *[NUMBER] * 3),
    st.tuples(st.sampled_from(("--noise-sd",)), NUMBER),
    st.tuples(st.just("--method"), st.sampled_from(("log-linear", "arlo", "nonlinear"))),
)
MAPS_OPTIONS = st.one_of(
    *[st.just(())] * 5,
    st.tuples(st.sampled_from(("--field", "--flair-ti", "--t1w-tr", "--t2w-te")), NUMBER),
    st.tuples(st.just("--reference"), st.sampled_from(("t1w", "t2w", "flair"))),
)
# As a tree, as a folder of images that lie side by side, as files, in one file.
SHAPES = st.sampled_from(("tree", "tree", "tree", "flat", "files", "image"))
HOW = st.tuples(
    SHAPES, st.sampled_from(("mask", "mask", "no mask")), st.sampled_from(("out", "[/out]", "a\x1b[1m"))
)
TREE = st.tuples(
    st.just("tree"), st.sampled_from(("mask", "no mask")), st.sampled_from(("out", "[/out]", "a\x1b[1m"))
)


@pytest.fixture(scope="module", autouse=True)
def without_waiting(module_patch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: nobody pulls the plug here."""
    module_patch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def module_patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("fuzz")
    _write_t1(place / "t1")
    _write_qsm(place / "qsm")
    _write_maps(place / "maps")
    return place


def _write_t1(root: Path) -> None:
    rng = np.random.default_rng(1)
    t1 = rng.uniform(0.3, 1.5, SHAPE)
    write_nifti(root / "mask.nii", np.ones(SHAPE, np.uint8))
    _describe(root / "raw", "IRT1", '{"RepetitionTimeExcitation": 5.0, "EchoTime": 0.012}')
    for subject in ("01", "02"):
        for index, ti in enumerate(T1_TIMES, start=1):
            values = np.abs(1000 * (1 - 1.96 * np.exp(-ti / t1) + np.exp(-5.0 / t1))) + rng.normal(
                0, 5, SHAPE
            )
            path = root / "raw" / f"sub-{subject}" / "anat" / f"sub-{subject}_inv-{index}_IRT1.nii.gz"
            write_nifti(
                path, np.abs(values).astype(np.float32), {"InversionTime": ti, "RepetitionTime": 5.0}
            )


def _write_qsm(root: Path) -> None:
    rng = np.random.default_rng(2)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    field = 40 * np.exp(-4 * (x**2 + y**2 + z**2)) + 20 * x
    write_nifti(root / "mask.nii", np.ones(SHAPE, np.uint8), affine=WIDE)
    _describe(root / "raw", "MEGRE", '{"MagneticFieldStrength": 3, "Units": "rad"}')
    for subject in ("01",):
        for index, te in enumerate(ECHO_TIMES, start=1):
            signal = 1000 * np.exp(-30 * te + 1j * (0.3 + 2 * np.pi * field * te))
            signal = signal + rng.normal(0, 5, SHAPE) + 1j * rng.normal(0, 5, SHAPE)
            for part, values in (("mag", np.abs(signal)), ("phase", np.angle(signal))):
                name = f"sub-{subject}_echo-{index}_part-{part}_MEGRE.nii.gz"
                path = root / "raw" / f"sub-{subject}" / "anat" / name
                write_nifti(
                    path,
                    values.astype(np.float32),
                    {"EchoTime": te, "MagneticFieldStrength": 3, "Units": "rad"},
                    WIDE,
                )


def _write_maps(root: Path) -> None:
    rng = np.random.default_rng(3)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in WEIGHTED_SHAPE], indexing="ij")
    t1 = np.where(x**2 + y**2 + z**2 < 0.4, 0.9, 1.4)
    write_nifti(root / "mask.nii", np.ones(WEIGHTED_SHAPE, np.uint8), affine=WIDE)
    _describe(root / "raw", "T1w", '{"MagneticFieldStrength": 3}')
    spin = {"MagneticFieldStrength": 3, "ScanningSequence": "SE"}
    exam = {
        "T1w": (np.exp(-0.5 / t1), {**spin, "RepetitionTime": 0.5, "EchoTime": 0.012}),
        "T2w": (t1, {**spin, "RepetitionTime": 5.0, "EchoTime": 0.09}),
        "FLAIR": (2 - t1, {**spin, "RepetitionTime": 9.0, "EchoTime": 0.1, "InversionTime": 2.4}),
    }
    for suffix, (signal, fields) in exam.items():
        values = np.abs(1000 * signal + rng.normal(0, 5, WEIGHTED_SHAPE)).astype(np.float32)
        write_nifti(root / "raw" / "sub-01" / "anat" / f"sub-01_{suffix}.nii.gz", values, fields, WIDE)


def _describe(root: Path, suffix: str, inherited: str) -> None:
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    (root / f"{suffix}.json").write_text(inherited)


def _inputs(command: str, raw: Path, shape: str) -> list[Path]:
    """Return what the command is given, as a tree, as a folder or as files."""
    if shape == "tree":
        return [raw]
    flat = raw.parent / "flat"
    flat.mkdir()
    for path in sorted(raw.rglob("sub-01_*")):
        path.rename(flat / path.name)
    if shape == "flat":
        return [flat]
    images = sorted(flat.glob("*.nii.gz"))
    if shape == "files" or command != "t1":
        return images
    volumes = [np.frombuffer(_plain(path)[352:], np.float32).reshape(SHAPE, order="F") for path in images]
    (raw.parent / "one").mkdir()
    whole = raw.parent / "one" / "ir.nii"
    whole.write_bytes(nifti_bytes(np.stack(volumes, axis=-1)))
    return [whole]


def _plain(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def try_one(
    command: str, place: Path, changes: list[Mutation], words: tuple[str, ...], how: tuple[str, str, str]
) -> None:
    """Make the files, spoil them, call the command, and look at what came of it."""
    shape, mask, out_name = how
    here = place / f"{command}{next(NUMBERS)}"
    shutil.copytree(place / {"r2star": "qsm"}.get(command, command), here)
    inputs = _inputs(command, here / "raw", shape)
    spoilt = here / {"tree": "raw", "image": "one"}.get(shape, "flat")
    for change in changes:
        apply(spoilt, change)
    before = state(*[path for path in here.iterdir() if path.name != "mask.nii"])
    options = [str(here / word) if word.endswith(".nii") else word for word in words]
    if shape == "image":
        options = ["--ti", *map(str, T1_TIMES), "--tr", "5", *options]
    if mask == "mask" and "--mask" not in words:
        options += ["--mask", str(here / "mask.nii")]
    fast = list(FAST.get(command, ()))
    fast = [] if set(fast) & set(options) else fast
    outcome = called([command, *inputs, "-o", here / out_name, "--no-figures", *fast, *options])
    check_outcome(outcome, here / out_name)
    after = state(
        *[path for path in here.iterdir() if path.name not in ("mask.nii", Path(out_name).parts[0])]
    )
    assert after == before
    for path in [here, *here.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(here)


@QUICK
@given(mutations(), T1_OPTIONS, HOW)
def test_t1_gives_a_result_or_one_paragraph(place, changes, words, how):  # type: ignore[no-untyped-def]
    try_one("t1", place, changes, words, how)


@QUICK_QSM
@given(mutations(), QSM_OPTIONS, HOW)
def test_qsm_gives_a_result_or_one_paragraph(place, changes, words, how):  # type: ignore[no-untyped-def]
    try_one("qsm", place, changes, words, how)


@QUICK_R2STAR
@given(mutations(), R2STAR_OPTIONS, HOW)
def test_r2star_gives_a_result_or_one_paragraph(place, changes, words, how):  # type: ignore[no-untyped-def]
    try_one("r2star", place, changes, words, how)


@QUICK_MAPS
@given(mutations(), MAPS_OPTIONS, TREE)
def test_maps_gives_a_result_or_one_paragraph(place, changes, words, how):  # type: ignore[no-untyped-def]
    try_one("maps", place, changes, words, how)


@pytest.mark.slow
@LONG
@given(mutations(), T1_OPTIONS, HOW)
def test_t1_thousands_of_times(place, changes, words, how):  # type: ignore[no-untyped-def]
    try_one("t1", place, changes, words, how)


@pytest.mark.slow
@LONG
@given(mutations(), QSM_OPTIONS, HOW)
def test_qsm_thousands_of_times(place, changes, words, how):  # type: ignore[no-untyped-def]
    try_one("qsm", place, changes, words, how)


@pytest.mark.slow
@LONG
@given(mutations(), R2STAR_OPTIONS, HOW)
def test_r2star_thousands_of_times(place, changes, words, how):  # type: ignore[no-untyped-def]
    try_one("r2star", place, changes, words, how)


@pytest.mark.slow
@settings(LONG, max_examples=500)
@given(mutations(), MAPS_OPTIONS, TREE)
def test_maps_hundreds_of_times(place, changes, words, how):  # type: ignore[no-untyped-def]
    try_one("maps", place, changes, words, how)


def test_every_hostile_name_is_tried() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE)
