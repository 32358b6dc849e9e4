"""Throughput and memory of the training stream, and the time of a whole brain.

Crops of 64 x 64 with seven TIs, everything on: partial volume from 0.5 mm, warps, texture, fields, short
component, motion, noise. Two worker processes, one thread each. Uses BrainWeb heads of the shared data if
they are there, else a procedural head.
"""

import resource
import statistics
import time
from pathlib import Path

import torch

from unweight.core.seeding import seeded_generator
from unweight.heads.brainweb import find_brainweb, read_brainweb
from unweight.signals.parameters import PD, T1, B
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.protocols.standard import Scan, seven_inversions
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.stream import SampleStream, collate, scanned
from unweight.synth.tissue.compose import compose, divisible
from unweight.synth.tissue.prior import TissuePrior

SHARED = Path(__file__).parents[2] / "shared" / "data" / "brainweb_crisp"
CROPS, BATCH = 1600, 32


def scans(_: torch.Generator) -> tuple[Scan, ...]:
    return (seven_inversions(),)


def head() -> Anatomy:
    if SHARED.exists():
        return read_brainweb(find_brainweb(SHARED)[0])
    return procedural_head(seeded_generator(0, "head"), shape=(360, 432, 240), voxel_mm=(0.5, 0.5, 0.5))


def main() -> None:
    torch.set_num_threads(1)
    anatomy = head()
    stream = SampleStream(anatomies=(anatomy,), prior=TissuePrior(), draw_scans=scans, length=CROPS)
    alone = []
    for index in range(60):
        began = time.perf_counter()
        stream[index]
        alone.append(time.perf_counter() - began)
    print(f"one process: {1 / statistics.median(alone[10:]):.0f} crops/s (median of 50)")
    loader = torch.utils.data.DataLoader(
        stream, batch_size=BATCH, num_workers=2, multiprocessing_context="fork", collate_fn=collate
    )
    arrivals = [time.perf_counter() for _ in loader]
    rate = BATCH * (len(arrivals) - 5) / (arrivals[-1] - arrivals[4])
    print(f"two workers, batches of {BATCH}: {rate:.0f} crops/s over {BATCH * (len(arrivals) - 5)} crops")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"memory: {own:.2f} GiB here, {child:.2f} GiB in the largest worker (shared pages counted twice)")
    whole(anatomy)


def whole(anatomy: Anatomy) -> None:
    stream_specs = (T1, PD, B)
    labels = torch.zeros(480, 480, 120, dtype=torch.uint8)
    part = anatomy.labels[:, :, 120:240]
    labels[: part.shape[0], : part.shape[1], : part.shape[2]] = part
    wide = Anatomy(
        labels=divisible(labels, (2, 2, 4)),
        voxel_mm=anatomy.voxel_mm,
        subject=anatomy.subject,
        affine=anatomy.affine,
    )
    generator = seeded_generator(0, "whole")
    began = time.perf_counter()
    tissue = TissuePrior().draw(generator, 3.0)
    scene = compose(wide, (2, 2, 4), tissue, generator)
    signal, _, _ = scanned(scene, seven_inversions(), MeasurementPrior(), generator)
    scene.truth(stream_specs)
    print(f"whole brain {tuple(signal.shape)}: {time.perf_counter() - began:.1f} s on one thread")


if __name__ == "__main__":
    main()
