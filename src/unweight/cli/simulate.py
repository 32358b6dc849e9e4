"""`unweight simulate`: a cohort of simulated people as a BIDS dataset, with the truth as derivatives."""

import argparse
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch

from unweight.bids.collection import LINKS
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.write import write_maps
from unweight.bids.raw import write_raw
from unweight.cli.options import Verbosity, options_of
from unweight.cli.terminal import console
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.files.atomic import write_bytes_atomic
from unweight.files.text_files import write_table
from unweight.heads.source import (
    ALL,
    BrainwebHeads,
    HeadSource,
    LabelImageHead,
    Mni152Head,
    ProceduralHeads,
)
from unweight.mapping.model_fit import model_of
from unweight.registry import model
from unweight.registry.records import Model
from unweight.signals.model import SignalModel
from unweight.signals.parameters import B1, CHI, PD, R2STAR, T1, T2, B
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.lesions import with_plaques
from unweight.synth.cohort import Cohort, Subject, adjust, subject_anatomy
from unweight.synth.protocols.prior import (
    ContrastPrior,
    GradientEchoPrior,
    InversionPrior,
    draw_contrasts,
    draw_echoes,
    draw_inversions,
)
from unweight.synth.protocols.standard import (
    Scan,
    eight_echoes,
    mprage,
    routine_contrasts,
    seven_inversions,
)
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.stream import scanned
from unweight.synth.tissue.compose import Factor, compose, divisible, with_phase
from unweight.synth.tissue.materials import BRAIN, INDEX
from unweight.synth.tissue.prior import TissuePrior
from unweight.synth.tissue.scene import Scene, density_of

TRUTH: dict[str, tuple[ParameterSpec, ...]] = {
    "ir": (T1, PD, B),
    "routine": (T1, T2, PD),
    "megre": (R2STAR, T1, PD, CHI),
}
FACTORS: dict[str, Factor] = {"ir": (2, 2, 4), "routine": (2, 2, 2), "megre": (2, 2, 2)}
HEAD_SHAPE, HEAD_VOXEL_MM = (360, 432, 360), (0.5, 0.5, 0.5)
HEAD_MIDDLE_MM = (0.0, -16.0, 12.0)
DEFAULT_FIELD = 3.0  # [T]
TIMINGS = (
    "echo_time",
    "repetition_time",
    "inversion_time",
    "flip_angle",
    "readout_time",
    "field_strength",
)
SETTINGS = ("seed", "contrast", "protocol", "snr", "slices", "lesions", "motion")
COARSEST_MM = 0.75  # of labels that are gathered into the scanner's voxels; coarser ones are those voxels
ALGORITHM = "Simulated; rates in mixed voxels are water-weighted means"


@final
@dataclass(frozen=True, kw_only=True)
class SimulateOptions:
    """Options of `unweight simulate`.

    Attributes:
        out: `bids` and `truth` are written in it.
        heads: Folder of BrainWeb heads.
        labels: Label image, and the material of each label.
        mni: Whether the head is MNI152.
        n_subjects: How many.
        contrast: `ir`, `routine` or `megre`.
        model: Signal model instead.
        echo_time: Of the model [s].
        repetition_time: Of the model [s].
        inversion_time: Of the model [s].
        flip_angle: Of the model [degrees].
        readout_time: Of the model [s].
        field_strength: Of the model [T].
        protocol: `fixed` or `random`.
        snr: Range of the brightest volume over noise SD.
        slices: In the middle of the brain; None for all.
        lesions: Whether there are plaques.
        motion: Whether some heads move.
        seed: Of all random numbers.
        verbosity: What is printed.
    """

    out: Path
    heads: Path | None
    labels: tuple[Path, Path] | None
    mni: bool
    n_subjects: int
    contrast: str
    model: str | None
    echo_time: tuple[float, ...] | None
    repetition_time: tuple[float, ...] | None
    inversion_time: tuple[float, ...] | None
    flip_angle: tuple[float, ...] | None
    readout_time: tuple[float, ...] | None
    field_strength: float | None
    protocol: str
    snr: tuple[float, float]
    slices: int | None
    lesions: bool
    motion: bool
    seed: int
    verbosity: Verbosity


def run(arguments: argparse.Namespace) -> int:
    """Simulate every subject, one after the other."""
    options = options_of(SimulateOptions, arguments)
    screen = console(quiet=options.verbosity.quiet)
    if options.slices is not None and options.slices < 1:
        raise UsageError(f"--slices {options.slices} is not possible", remedy="Give at least 1.")
    if options.contrast == "megre" and options.slices is not None:
        raise UsageError(
            "--slices cannot be used with megre", remedy="Its field requires the whole head; omit --slices."
        )
    if options.model is None and any(getattr(options, name) is not None for name in TIMINGS):
        raise UsageError("timings require a signal model", remedy="Give --model, too.")
    if any(list((options.out / part).glob("sub-*")) for part in ("bids", "truth")):
        raise UsageError(f"{options.out} already contains a study", remedy="Choose a new folder.")
    cohort = Cohort(n=options.n_subjects, seed=options.seed)
    if sum(bool(choice) for choice in (options.heads, options.labels, options.mni)) > 1:
        raise UsageError(
            "--brainweb-dir, --label-map and --mni cannot be combined", remedy="Give one of them."
        )
    # Built once, and before a head is made: a missing timing is refused at once.
    of_model = None if options.model is None else _of_model(options.model, options)
    heads = _source(options, cohort)
    n_heads = len(heads.names(ALL))
    rows: list[tuple[str, float, str, str]] = []
    for index, person in enumerate(cohort):
        label = f"{index + 1:03d}"
        anatomy, factor = _anatomy(heads.read(ALL, index % n_heads), person, options)
        _simulate(anatomy, factor, (person, label), options, of_model)
        rows.append((f"sub-{label}", round(person.age, 1), person.sex.value, anatomy.subject))
        _list(rows, options.out / "bids")
        screen.print(f"sub-{label}: {person.age:.0f} years, {person.sex.value}, {anatomy.subject}")
    screen.print(str(options.out / "bids"))
    screen.print(str(options.out / "truth"))
    return 0


def _list(rows: list[tuple[str, float, str, str]], root: Path) -> None:
    """Write the table of subjects so far, so that an interruption leaves none unlisted."""
    columns = ("participant_id", "age", "sex", "anatomy")
    write_table(root / "participants.tsv", rows, columns)
    about = {name: {"Description": f"{name} of the simulated subject"} for name in columns[1:]}
    write_bytes_atomic(root / "participants.json", (json.dumps(about, indent=2) + "\n").encode())


def _source(options: SimulateOptions, cohort: Cohort) -> HeadSource:
    """Return the heads asked for; those drawn from random numbers have the layers that are wanted."""
    if options.heads is not None:
        return BrainwebHeads(options.heads)
    if options.labels is not None:
        image, materials = options.labels
        return LabelImageHead(image=image, materials=materials)
    if options.mni:
        return Mni152Head()
    x, y, z = HEAD_SHAPE
    layers = z if options.slices is None else options.slices * FACTORS[options.contrast][2]
    return ProceduralHeads(
        generator=lambda part, index: cohort.subject(index).generator("anatomy"),
        counts={ALL: options.n_subjects},
        shape=(x, y, min(layers, z)),
        voxel_mm=HEAD_VOXEL_MM,
        centre_mm=HEAD_MIDDLE_MM,
    )


def _anatomy(head: Anatomy, person: Subject, options: SimulateOptions) -> tuple[Anatomy, Factor]:
    """Return the anatomy of a person, and how many of its voxels make one of the scanner's, by axis."""
    factor = FACTORS[options.contrast]
    anatomy = subject_anatomy(head, person)
    if min(anatomy.voxel_mm) > COARSEST_MM:
        factor = (1, 1, 1)
    if options.lesions:
        anatomy = with_plaques(anatomy, person.generator("lesions"))
    labels = divisible(anatomy.labels, factor)
    affine = anatomy.affine.clone()
    if options.slices is not None:
        first, count = _middle(labels, options.slices * factor[2])
        labels = labels[:, :, first : first + count].contiguous()
        affine[:3, 3] += affine[:3, 2] * first
    return replace(anatomy, labels=labels.contiguous(), affine=affine), factor


def _middle(labels: torch.Tensor, count: int) -> tuple[int, int]:
    """Return the first of `count` layers around the middle of the brain, as many as there are."""
    brain = torch.isin(labels, torch.tensor([INDEX[name] for name in BRAIN], dtype=labels.dtype))
    layers = brain.flatten(0, 1).any(0).nonzero()[:, 0]
    middle = int(layers.float().mean()) if len(layers) else labels.shape[2] // 2
    count = min(count, labels.shape[2])
    return min(max(0, middle - count // 2), labels.shape[2] - count), count


def _settings(options: SimulateOptions) -> dict[str, object]:
    """Return what was asked for: of a signal model, its name stands for contrast and protocol."""
    settings = {name: getattr(options, name) for name in SETTINGS}
    if options.model is None:
        return settings
    return {"model": options.model} | {
        name: value for name, value in settings.items() if name not in ("contrast", "protocol")
    }


def _simulate(
    anatomy: Anatomy,
    factor: Factor,
    who: tuple[Subject, str],
    options: SimulateOptions,
    of_model: Scan | None,
) -> None:
    person, label = who
    scans = _scans(options, person.generator("protocol")) if of_model is None else (of_model,)
    field = scans[0].protocol.field_strength or 3.0
    tissue = TissuePrior().draw(person.generator("tissue"), field)
    tissue = adjust(tissue, person, person.generator("age"))
    scene = compose(anatomy, factor, tissue, person.generator("scene"))
    if options.contrast == "megre":
        scene = with_phase(scene, field, person.generator("phase"))
    gains, sources = [], []
    for scan in scans:
        gain, paths = _scan(scene, scan, label, options)
        gains.append(gain)
        sources += [f"bids:raw:{path.relative_to(options.out / 'bids').as_posix()}" for path in paths]
    if of_model is None:
        truth = scene.truth(TRUTH[options.contrast], gains[0])
    else:
        built = of_model.model
        specs = (*built.parameters, *((B1,) if "flip_angle" in built.timings else ()))
        truth = scene.truth(specs, gains[0], density_of(built))
    provenance = Provenance(
        sources=tuple(sources),
        algorithm=f"{ALGORITHM}; PD is in the unit of the {scans[0].name} images",
        root=options.out / "bids",
        settings=_settings(options) | {"anatomy": anatomy.subject},
    )
    write_maps(truth, options.out / "truth", {"sub": label}, provenance)


def _scans(options: SimulateOptions, generator: torch.Generator) -> tuple[Scan, ...]:
    random = options.protocol == "random"
    if options.contrast == "ir":
        return (draw_inversions(InversionPrior(), generator) if random else seven_inversions(),)
    if options.contrast == "routine":
        return draw_contrasts(ContrastPrior(), generator) if random else routine_contrasts()
    echoes = draw_echoes(GradientEchoPrior(), generator) if random else eight_echoes()
    return (echoes, mprage())


def _of_model(name: str, options: SimulateOptions) -> Scan:
    """Return the scan of a signal model, with its sign if it has one; magnitudes are taken after noise.

    Raises:
        UsageError: There is no suffix to write it under.
    """
    record = model(name)
    kinds = (SignalKind.SIGNED, SignalKind.MAGNITUDE)
    built = next(result for result in (_of_kind(record, kind) for kind in kinds) if result is not None)
    angles = None if options.flip_angle is None else [math.radians(angle) for angle in options.flip_angle]
    given = {
        "echo_time": options.echo_time,
        "repetition_time": options.repetition_time,
        "inversion_time": options.inversion_time,
        "flip_angle": angles,
        "readout_time": options.readout_time,
    }
    volumes = max((len(values) for values in given.values() if values is not None), default=0)
    timings = {
        key: values * volumes if len(values) == 1 else values
        for key, values in given.items()
        if values is not None
    }
    protocol = protocol_from_values(field_strength=options.field_strength or DEFAULT_FIELD, **timings)
    for timing in built.timings:
        protocol.require(timing, record.name)
    if not record.suffixes:
        raise UsageError(f"{record.name} names no suffix of its images", remedy="Correct its record.")
    if volumes > 1 and not LINKS.get(record.suffixes[0]):
        raise UsageError(
            f"BIDS has no series of {record.suffixes[0]} images ({record.name}); {volumes} were asked for",
            remedy="Give timings of one image.",
        )
    return Scan(name=record.suffixes[0], model=built, protocol=protocol)


def _of_kind(record: Model, kind: SignalKind) -> SignalModel | None:
    try:
        return model_of(record, kind)
    except UsageError:
        return None


def _scan(scene: Scene, scan: Scan, label: str, options: SimulateOptions) -> tuple[float, tuple[Path, ...]]:
    """Write what the scanner stores; return its gain and the images."""
    generator = seeded_generator(options.seed, "scan", label, scan.name)
    several_parts = scan.name == "MEGRE" and options.model is None
    kind = SignalKind.COMPLEX if several_parts else SignalKind.MAGNITUDE
    low, high = options.snr
    prior = MeasurementPrior(kind=kind, snr=(low, high), moving=0.3 if options.motion else 0.0)
    signal, noise_sd, gain = scanned(scene, scan, prior, generator)
    acquisition = Acquisition(
        signal=signal, protocol=scan.protocol, kind=kind, affine=scene.affine, noise_sd=noise_sd
    )
    return gain, write_raw(acquisition, options.out / "bids", {"sub": label}, suffix=scan.name)
