"""A small head for the demo: one person, scanned with all three ways to maps in one BIDS tree."""

from collections.abc import Iterator
from pathlib import Path

from unweight.bids.raw import write_raw
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.seeding import seeded_generator
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.cohort import Cohort, Subject, adjust, subject_anatomy
from unweight.synth.protocols.standard import Scan, eight_echoes, routine_contrasts, seven_inversions
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.stream import scanned
from unweight.synth.tissue.compose import compose, with_phase
from unweight.synth.tissue.prior import TissuePrior
from unweight.synth.tissue.scene import Scene

SHAPE, VOXEL_MM, MIDDLE_MM = (180, 216, 180), (1.0, 1.0, 1.0), (0.0, -16.0, 12.0)
FACTOR = (2, 2, 2)  # voxels of the anatomy that make one of the scanner's
FIELD = 3.0
SNR = (60.0, 60.0)  # brightest volume over noise SD
INVERSION = "ir"  # `acq` of the inversion recovery: its T1 and that of the routine images share a folder


def write_head(root: Path, label: str, seed: int) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """Simulate the head, and give the name of each scan with its images when they are written.

    Args:
        root: Of the BIDS tree.
        label: Of the subject.
        seed: Of everything.
    """
    person = Cohort(n=1, seed=seed).subject(0)
    scene = _scene(person)
    for scan in (seven_inversions(), *routine_contrasts(), eight_echoes()):
        entities = {"sub": label, **({"acq": INVERSION} if scan.name == "IRT1" else {})}
        acquisition = _scanned(scene, scan, seed)
        yield scan.name, write_raw(acquisition, root, entities, suffix=scan.name)


def _scene(person: Subject) -> Scene:
    head = procedural_head(person.generator("anatomy"), shape=SHAPE, voxel_mm=VOXEL_MM, centre_mm=MIDDLE_MM)
    anatomy = subject_anatomy(head, person)
    tissue = TissuePrior().draw(person.generator("tissue"), FIELD)
    tissue = adjust(tissue, person, person.generator("age"))
    scene = compose(anatomy, FACTOR, tissue, person.generator("scene"))
    return with_phase(scene, FIELD, person.generator("phase"))


def _scanned(scene: Scene, scan: Scan, seed: int) -> Acquisition:
    kind = SignalKind.COMPLEX if scan.name == "MEGRE" else SignalKind.MAGNITUDE
    prior = MeasurementPrior(kind=kind, snr=SNR, moving=0.0)
    signal, noise_sd, _ = scanned(scene, scan, prior, seeded_generator(seed, "demo", scan.name))
    return Acquisition(
        signal=signal, protocol=scan.protocol, kind=kind, affine=scene.affine, noise_sd=noise_sd
    )
