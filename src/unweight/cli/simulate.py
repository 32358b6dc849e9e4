"""`unweight simulate`: a cohort of simulated people as a BIDS dataset, with the truth as derivatives."""

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import torch

from unweight.bids.collection import LINKS
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.write import write_maps
from unweight.bids.raw import write_raw
from unweight.cli.terminal import console
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.files.atomic import write_bytes_atomic
from unweight.files.text_files import write_table
from unweight.heads.brainweb import find_brainweb, read_brainweb
from unweight.heads.labels import read_labels
from unweight.heads.mni152 import read_mni152
from unweight.mapping.model_fit import model_of
from unweight.registry import model
from unweight.registry.records import Model
from unweight.signals.model import SignalModel
from unweight.signals.parameters import B1, CHI, PD, R2STAR, T1, T2, B
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.lesions import with_plaques
from unweight.synth.anatomy.nuclei import with_nuclei
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.cohort import Cohort, Subject, adjust, of_person
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
TIMINGS = ("echo_time", "repetition_time", "inversion_time", "flip_angle", "readout_time")
SETTINGS = ("seed", "contrast", "protocol", "snr", "slices", "lesions", "motion")
COARSEST_MM = 0.75  # of labels that are gathered into the scanner's voxels; coarser ones are those voxels
ALGORITHM = "Simulated; rates in mixed voxels are water-weighted means"


def run(arguments: argparse.Namespace) -> int:
    """Simulate every subject, one after the other."""
    screen = console(quiet=arguments.quiet)
    if arguments.slices is not None and arguments.slices < 1:
        raise UsageError(f"{arguments.slices} slices", remedy="Give at least one.")
    if arguments.contrast == "megre" and arguments.slices is not None:
        raise UsageError(
            "--slices does not go with megre", remedy="Its field is that of the whole head; leave it out."
        )
    if arguments.model is None and any(
        getattr(arguments, name) is not None for name in (*TIMINGS, "field_strength")
    ):
        raise UsageError("timings are those of a model", remedy="Give --model, too.")
    if any(list((arguments.out / part).glob("sub-*")) for part in ("bids", "truth")):
        raise UsageError(f"{arguments.out} holds a study already", remedy="Choose a new folder.")
    cohort = Cohort(n=arguments.subjects, seed=arguments.seed)
    if sum(bool(choice) for choice in (arguments.heads, arguments.labels, arguments.mni)) > 1:
        raise UsageError("--heads, --labels and --mni exclude each other")
    heads = None if arguments.heads is None else find_brainweb(arguments.heads)
    rows: list[tuple[str, float, str, str]] = []
    for index, person in enumerate(cohort):
        label = f"{index + 1:03d}"
        anatomy, factor = _anatomy(heads, index, person, arguments)
        _simulate(anatomy, factor, (person, label), arguments)
        rows.append((f"sub-{label}", round(person.age, 1), person.sex.value, anatomy.subject))
        _list(rows, arguments.out / "bids")
        screen.print(f"sub-{label}: {person.age:.0f} years, {person.sex.value}, {anatomy.subject}")
    screen.print(str(arguments.out / "bids"))
    screen.print(str(arguments.out / "truth"))
    return 0


def _list(rows: list[tuple[str, float, str, str]], root: Path) -> None:
    """Write the table of subjects so far, so that an interruption leaves none unlisted."""
    columns = ("participant_id", "age", "sex", "anatomy")
    write_table(root / "participants.tsv", rows, columns)
    about = {name: {"Description": f"{name} of the simulated subject"} for name in columns[1:]}
    write_bytes_atomic(root / "participants.json", (json.dumps(about, indent=2) + "\n").encode())


def _anatomy(
    heads: tuple[Path, ...] | None, index: int, person: Subject, arguments: argparse.Namespace
) -> tuple[Anatomy, Factor]:
    """Return a head, and how many of its voxels make one of the scanner's along each axis."""
    factor = FACTORS[arguments.contrast]
    if heads is not None:
        anatomy = with_nuclei(read_brainweb(heads[index % len(heads)]))
    elif arguments.labels is not None:
        image, names = arguments.labels
        anatomy = read_labels(image, names, subject=image.name.split(".")[0])
    elif arguments.mni:
        anatomy = with_nuclei(read_mni152())
    else:
        layers = HEAD_SHAPE[2] if arguments.slices is None else arguments.slices * factor[2]
        anatomy = procedural_head(
            person.generator("anatomy"),
            shape=(HEAD_SHAPE[0], HEAD_SHAPE[1], min(layers, HEAD_SHAPE[2])),
            voxel_mm=HEAD_VOXEL_MM,
            centre_mm=HEAD_MIDDLE_MM,
        )
    anatomy = of_person(anatomy, person)
    if min(anatomy.voxel_mm) > COARSEST_MM:
        factor = (1, 1, 1)
    if arguments.lesions:
        anatomy = with_plaques(anatomy, person.generator("lesions"))
    labels = divisible(anatomy.labels, factor)
    affine = anatomy.affine.clone()
    if arguments.slices is not None:
        first, count = _middle(labels, arguments.slices * factor[2])
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


def _simulate(
    anatomy: Anatomy, factor: Factor, who: tuple[Subject, str], arguments: argparse.Namespace
) -> None:
    person, label = who
    if arguments.model is None:
        scans = _scans(arguments, person.generator("protocol"))
    else:
        scans = (_of_model(arguments),)
    field = scans[0].protocol.field_strength or 3.0
    tissue = TissuePrior().draw(person.generator("tissue"), field)
    tissue = adjust(tissue, person, person.generator("age"))
    scene = compose(anatomy, factor, tissue, person.generator("scene"))
    if arguments.contrast == "megre":
        scene = with_phase(scene, field, person.generator("phase"))
    gains, sources = [], []
    for scan in scans:
        gain, paths = _scan(scene, scan, label, arguments)
        gains.append(gain)
        sources += [f"bids:raw:{path.relative_to(arguments.out / 'bids').as_posix()}" for path in paths]
    if arguments.model is None:
        truth = scene.truth(TRUTH[arguments.contrast], gains[0])
    else:
        built = scans[0].model
        specs = (*built.parameters, *((B1,) if "flip_angle" in built.timings else ()))
        truth = scene.truth(specs, gains[0], density_of(built))
    provenance = Provenance(
        sources=tuple(sources),
        algorithm=f"{ALGORITHM}; PD is in the unit of the {scans[0].name} images",
        root=arguments.out / "bids",
        settings=_settings(arguments) | {"anatomy": anatomy.subject},
    )
    write_maps(truth, arguments.out / "truth", {"sub": label}, provenance)


def _scans(arguments: argparse.Namespace, generator: torch.Generator) -> tuple[Scan, ...]:
    random = arguments.protocol == "random"
    if arguments.contrast == "ir":
        return (draw_inversions(InversionPrior(), generator) if random else seven_inversions(),)
    if arguments.contrast == "routine":
        return draw_contrasts(ContrastPrior(), generator) if random else routine_contrasts()
    echoes = draw_echoes(GradientEchoPrior(), generator) if random else eight_echoes()
    return (echoes, mprage())


def _settings(arguments: argparse.Namespace) -> dict[str, object]:
    """Return what was asked for: of a signal model, its name stands for contrast and protocol."""
    settings = {name: getattr(arguments, name) for name in SETTINGS}
    if arguments.model is None:
        return settings
    return {"model": arguments.model} | {
        name: value for name, value in settings.items() if name not in ("contrast", "protocol")
    }


def _of_model(arguments: argparse.Namespace) -> Scan:
    """Return the scan of a signal model, with its sign if it has one; magnitudes are taken after noise.

    Raises:
        UsageError: There is no suffix to write it under.
    """
    record = model(arguments.model)
    kinds = (SignalKind.SIGNED, SignalKind.MAGNITUDE)
    built = next(found for found in (_of_kind(record, kind) for kind in kinds) if found is not None)
    named = {name: getattr(arguments, name) for name in TIMINGS}
    given = {name: list(values) for name, values in named.items() if values is not None}
    if "flip_angle" in given:
        given["flip_angle"] = [math.radians(angle) for angle in given["flip_angle"]]
    volumes = max((len(values) for values in given.values()), default=0)
    timings = {name: values * volumes if len(values) == 1 else values for name, values in given.items()}
    field = arguments.field_strength or DEFAULT_FIELD
    protocol = protocol_from_values(field_strength=field, **timings)
    for name in built.timings:
        protocol.require(name, record.name)
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


def _scan(
    scene: Scene, scan: Scan, label: str, arguments: argparse.Namespace
) -> tuple[float, tuple[Path, ...]]:
    """Write what the scanner stores; return its gain and the images."""
    generator = seeded_generator(arguments.seed, "scan", label, scan.name)
    several_parts = scan.name == "MEGRE" and arguments.model is None
    kind = SignalKind.COMPLEX if several_parts else SignalKind.MAGNITUDE
    low, high = arguments.snr
    prior = MeasurementPrior(kind=kind, snr=(low, high), moving=0.3 if arguments.motion else 0.0)
    signal, noise_sd, gain = scanned(scene, scan, prior, generator)
    acquisition = Acquisition(
        signal=signal, protocol=scan.protocol, kind=kind, affine=scene.affine, noise_sd=noise_sd
    )
    return gain, write_raw(acquisition, arguments.out / "bids", {"sub": label}, suffix=scan.name)
