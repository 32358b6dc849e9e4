"""`unweight demo`: the whole way on built-in data, through files, as a user would go it.

The digital NIST/ISMRM system phantom is simulated under the seven-TI protocol of the qMRI Diffusor
(Wang et al., arXiv 2407.16477), and a small head with everything all three ways to maps need; both are
written as one BIDS dataset and mapped by the commands themselves.
"""

import argparse
import math
import shlex
import time
from dataclasses import replace
from pathlib import Path

from unweight.bids.raw import write_raw
from unweight.bids.series.weighted import CONTRASTS
from unweight.cli.demo_head import write_head
from unweight.cli.main import main
from unweight.cli.terminal import console
from unweight.core.errors import UsageError
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.phantom.digital import Pose, SliceGrid, digital_phantom
from unweight.phantom.facts import sphere_array
from unweight.registry import pipelines
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Rician
from unweight.synth.simulate import simulate_phantom

INVERSION_TIMES = (0.05, 0.10, 0.25, 0.50, 0.85, 1.50, 2.50)
REPETITION_TIME = 10.0
VERSION = 2
PHANTOM, HEAD = "phantom", "head"
SUFFIXES = {"IRT1", *CONTRASTS, "MEGRE"}  # of the head


def run(arguments: argparse.Namespace) -> int:
    """Simulate, write, map, measure, and write the pages; print each command."""
    if not arguments.snr > 0:
        raise UsageError(f"an SNR of {arguments.snr:g} is not possible", remedy="Give a positive number.")
    screen = console(quiet=arguments.quiet)
    began = time.perf_counter()

    def said(text: str) -> None:
        screen.print(f"[{time.perf_counter() - began:4.0f} s] {text}", markup=False)

    raw, maps = arguments.out / "bids", arguments.out / "maps"
    images = _simulate(raw, arguments.snr, arguments.seed)
    said(f"Simulated system phantom, {len(images)} images under {raw}")
    if not arguments.phantom_only:
        said("Simulating a small head: inversion recovery, T1w, T2w, FLAIR, multi-echo gradient echo")
        for name, images in write_head(raw, HEAD, arguments.seed):
            said(f"  {name}: {len(images)} images")
    quiet = ["--quiet"] if arguments.quiet else []
    for words in _calls(raw, maps, phantom_only=arguments.phantom_only):
        said(f"$ unweight {shlex.join(words)}")
        code = main([*words, *quiet])
        if code:
            return code
    pages = [maps / f"sub-{label}.html" for label in (PHANTOM, HEAD)]
    said(f"Done. Open {' and '.join(str(page) for page in pages if page.exists())} in a browser.")
    return 0


def _calls(raw: Path, maps: Path, *, phantom_only: bool) -> list[list[str]]:
    """Return the commands of the demo, in order; the pages are written once, at the end."""
    tree, out = str(raw), ["-o", str(maps), "--no-report"]
    calls = [
        ["t1", tree, *out, "--subjects", PHANTOM],
        ["phantom", str(maps), "--phantom-version", str(VERSION), "--subjects", PHANTOM],
    ]
    shown = [PHANTOM]
    if not phantom_only:
        shown.append(HEAD)
        calls += [
            [item.command, tree, *out, "--subjects", HEAD]
            for item in pipelines()
            if SUFFIXES.issuperset(item.suffixes)
        ]
    return [*calls, ["report", str(maps), "--participant-label", *shown]]


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
