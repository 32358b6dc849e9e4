"""T1 of real data against published values: a phantom on three scanners, and one slice of a brain.

Needs the folders `nist_ir_hazen` and `brain_ir_qmrlab` of the shared data beside the repository.
"""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.io
import torch
from scipy import ndimage

from unweight.bids.read import find_inputs
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.protocol import protocol_from_values
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.phantom.finder import find_plates
from unweight.phantom.spheres import measure_t1, sphere_signals
from unweight.report.figures import draw_maps

SHARED = Path(__file__).parents[2] / "shared" / "data"
SITES = ("site1_20200218/plate5", "site2_20180925/plate5", "site3_ge/plate4", "site3_ge/plate5")


def phantom() -> None:
    root = SHARED / "nist_ir_hazen"
    with (root / "roi_signals.csv").open() as lines:
        published = list(csv.DictReader(lines))
    print("site | sphere | published ms | same means | own means | voxels | status")
    print("--- | ---: | ---: | ---: | ---: | ---: | ---")
    for site in SITES:
        rows = [row for row in published if f"{row['site']}/{row['plate']}" == site]
        acquisition = find_inputs([root / "T1" / site])[0].read().acquisition
        maps = InversionRecoveryFit()(acquisition)
        found = find_plates(acquisition, maps, version=1)[0]
        given = torch.tensor([float(row["mean_signal"]) for row in rows]).reshape(14, -1)
        own = sphere_signals(acquisition, found)
        plain = replace(acquisition, affine=None, saturated=None)
        same, region = (
            InversionRecoveryFit()(replace(plain, signal=means.float())).value("T1")
            for means in (given, own)
        )
        for index, sphere in enumerate(measure_t1(maps, found)):
            truth = float(rows[index * given.shape[1]]["T1_TRmodel_ms"]) / 1e3
            errors = [100 * (t1 / truth - 1) for t1 in (same[index], region[index], sphere.t1_mean_s)]
            cells = " | ".join(f"{float(error):+.2f} %" for error in errors)
            print(f"{site} | {sphere.sphere} | {1e3 * truth:.1f} | {cells} | {sphere.status.value}")


def brain(picture: Path | None) -> None:
    content = scipy.io.loadmat(SHARED / "brain_ir_qmrlab" / "IRData.mat")
    signal = torch.from_numpy(np.ascontiguousarray(content["IRData"], dtype=np.float32))
    acquisition = Acquisition(
        signal=signal,
        protocol=protocol_from_values(inversion_time=content["TI"].ravel().tolist()),
        kind=SignalKind.MAGNITUDE,
        affine=torch.diag(torch.tensor([1.0, 1.0, 5.0, 1.0], dtype=torch.float64)),
    )
    maps = InversionRecoveryFit()(acquisition)
    strong = signal.amax(-1).numpy()[:, :, 0] > 10
    parts, count = ndimage.label(ndimage.binary_erosion(strong, iterations=2))
    largest = 1 + int(np.argmax(ndimage.sum(strong, parts, range(1, count + 1))))
    mask = ndimage.binary_dilation(parts == largest, iterations=2) & strong
    t1, usable = maps.value("T1")[:, :, 0].numpy()[mask], maps.usable[:, :, 0].numpy()[mask]
    valued = t1[np.isfinite(t1)]
    counts, edges = np.histogram(t1[usable], bins=np.arange(0.3, 2.0, 0.02))
    smooth = np.convolve(counts, np.ones(3) / 3, mode="same")
    share = 100 * valued.size / mask.sum(), 100 * usable.sum() / mask.sum()
    print(f"\nbrain: {mask.sum()} voxels, {share[0]:.1f} % with a value, {share[1]:.1f} % usable")
    print(f"median T1 {1e3 * np.median(t1[usable]):.1f} ms of usable voxels (published 746)")
    print(f"median T1 {1e3 * np.median(valued):.1f} ms of all voxels with a value, suspect ones included")
    print(f"white-matter peak {1e3 * edges[int(smooth.argmax())] + 10:.0f} ms (expected 600 to 700)")
    print({status.name: number for status, number in maps.count().items()}, dict(maps.notes))
    if picture is not None:
        picture.write_bytes(draw_maps(maps, "Brain, nine TIs"))


if __name__ == "__main__":
    phantom()
    brain(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
