"""`unweight demo`: the whole way on built-in data, through files, as a user would go it.

The digital NIST/ISMRM system phantom is simulated under the seven-TI protocol of the qMRI Diffusor
(Wang et al., arXiv 2407.16477), and a small head with everything all three ways to maps need; both are
written as one BIDS dataset and mapped by the commands themselves.
"""

import argparse
import math
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from unweight.bids.raw import write_raw
from unweight.bids.series.weighted import CONTRASTS
from unweight.cli.main import main
from unweight.cli.options import Verbosity, options_of
from unweight.cli.terminal import console
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import UsageError
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.phantom.digital import Pose, SliceGrid, digital_phantom
from unweight.phantom.facts import sphere_array
from unweight.registry import pipeline, usual_commands
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Rician
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.cohort import Cohort, Subject, adjust, subject_anatomy
from unweight.synth.protocols.standard import Scan, eight_echoes, routine_contrasts, seven_inversions
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.simulate import simulate_phantom
from unweight.synth.stream import scanned
from unweight.synth.tissue.compose import compose, with_phase
from unweight.synth.tissue.prior import TissuePrior
from unweight.synth.tissue.scene import Scene

INVERSION_TIMES = (0.05, 0.10, 0.25, 0.50, 0.85, 1.50, 2.50)
REPETITION_TIME = 10.0
VERSION = 2
HEAD_SHAPE, HEAD_VOXEL_MM, HEAD_MIDDLE_MM = (180, 216, 180), (1.0, 1.0, 1.0), (0.0, -16.0, 12.0)
HEAD_FACTOR = (2, 2, 2)  # voxels of the anatomy that make one of the scanner's
HEAD_FIELD = 3.0
HEAD_SNR = (60.0, 60.0)  # brightest volume over noise SD
INVERSION_ACQ = "ir"  # its T1 and that of the routine images share a folder
PHANTOM, HEAD = "phantom", "head"
SUFFIXES = {"IRT1", *CONTRASTS, "MEGRE"}  # of the head


@final
@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Options of `unweight demo`.

    Attributes:
        out: Folder that is written.
        snr: PD over noise SD.
        seed: Of noise and head.
        phantom_only: Whether the head is left out.
        verbosity: What is printed.
    """

    out: Path
    snr: float
    seed: int
    phantom_only: bool
    verbosity: Verbosity


def run(arguments: argparse.Namespace) -> int:
    """Simulate, write, map, measure, and write the pages; print each command."""
    options = options_of(DemoOptions, arguments)
    if not options.snr > 0:
        raise UsageError(f"an SNR of {options.snr:g} is not possible", remedy="Give a positive number.")
    screen = console(quiet=options.verbosity.quiet)
    began = time.perf_counter()

    def announce(text: str) -> None:
        screen.print(f"[{time.perf_counter() - began:4.0f} s] {text}", markup=False)

    raw, maps = options.out / "bids", options.out / "maps"
    images = _simulate(raw, options.snr, options.seed)
    announce(f"Simulated system phantom, {len(images)} images under {raw}")
    if not options.phantom_only:
        announce("Simulating a small head: inversion recovery, T1w, T2w, FLAIR, multi-echo gradient echo")
        for name, images in write_head(raw, HEAD, options.seed):
            announce(f"  {name}: {len(images)} images")
    quiet = ["--quiet"] if options.verbosity.quiet else []
    for words in calls(raw, maps, phantom_only=options.phantom_only):
        announce(f"$ unweight {shlex.join(words)}")
        code = main([*words, *quiet])
        if code:
            return code
    pages = [maps / f"sub-{label}.html" for label in (PHANTOM, HEAD)]
    announce("Done. Open these pages in a browser:")
    for page in pages:
        if page.exists():
            screen.print(str(page))
    return 0


def calls(raw: Path, maps: Path, *, phantom_only: bool) -> list[list[str]]:
    """Return the commands of the demo, in order; the pages are written once, at the end."""
    tree, out = str(raw), ["-o", str(maps), "--no-report"]
    calls = [
        ["t1", tree, *out, "--subjects", PHANTOM],
        ["phantom", str(maps), "--phantom-version", str(VERSION), "--subjects", PHANTOM],
    ]
    displayed = [PHANTOM]
    if not phantom_only:
        displayed.append(HEAD)
        calls += [
            [command, tree, *out, "--subjects", HEAD]
            for command in usual_commands()
            if SUFFIXES.issuperset(pipeline(command).suffixes)
        ]
    return [*calls, ["report", str(maps), "--participant-label", *displayed]]


def _simulate(root: Path, snr: float, seed: int) -> tuple[Path, ...]:
    protocol = protocol_from_values(
        inversion_time=INVERSION_TIMES,
        repetition_time=[REPETITION_TIME] * len(INVERSION_TIMES),
        field_strength=3.0,
    )
    phantom = digital_phantom(
        sphere_array(5, VERSION, 3.0),
        grid=SliceGrid(shape=(240, 240, 3), voxel_mm=(1.0, 1.0, 5.0)),
        pose=Pose(rotation=math.radians(7.0), shift_mm=(4.0, -6.0)),
    )
    acquisition = simulate_phantom(
        phantom,
        InversionRecovery(),
        protocol,
        Rician(sigma=1.0 / snr),
        seeded_generator(seed, "demo"),
    )
    scaled = replace(acquisition, signal=1000.0 * acquisition.signal.float())
    return write_raw(scaled, root, {"sub": PHANTOM})


def write_head(root: Path, label: str, seed: int) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """Simulate the head, and give the name of each scan with its images when they are written.

    Args:
        root: Of the BIDS tree.
        label: Of the subject.
        seed: Of all random numbers.
    """
    person = Cohort(n=1, seed=seed).subject(0)
    scene = _head_scene(person)
    for scan in (seven_inversions(), *routine_contrasts(), eight_echoes()):
        entities = {"sub": label, **({"acq": INVERSION_ACQ} if scan.name == "IRT1" else {})}
        acquisition = _head_scan(scene, scan, seed)
        yield scan.name, write_raw(acquisition, root, entities, suffix=scan.name)


def _head_scene(person: Subject) -> Scene:
    head = procedural_head(
        person.generator("anatomy"), shape=HEAD_SHAPE, voxel_mm=HEAD_VOXEL_MM, centre_mm=HEAD_MIDDLE_MM
    )
    anatomy = subject_anatomy(head, person)
    tissue = TissuePrior().draw(person.generator("tissue"), HEAD_FIELD)
    tissue = adjust(tissue, person, person.generator("age"))
    scene = compose(anatomy, HEAD_FACTOR, tissue, person.generator("scene"))
    return with_phase(scene, HEAD_FIELD, person.generator("phase"))


def _head_scan(scene: Scene, scan: Scan, seed: int) -> Acquisition:
    kind = SignalKind.COMPLEX if scan.name == "MEGRE" else SignalKind.MAGNITUDE
    prior = MeasurementPrior(kind=kind, snr=HEAD_SNR, moving=0.0)
    signal, noise_sd, _ = scanned(scene, scan, prior, seeded_generator(seed, "demo", scan.name))
    return Acquisition(
        signal=signal, protocol=scan.protocol, kind=kind, affine=scene.affine, noise_sd=noise_sd
    )
