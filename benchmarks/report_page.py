"""How heavy the page of a whole head is, how long it takes to make, and how long until it can be used.

    python benchmarks/report_page.py

A head of 181 x 217 x 181 voxels of 1 mm with noise of 3 %: T1, PD and B with standard deviation and misfit,
of the brain alone and of the whole head. Chromium is looked for as in the tests.
"""

import shutil
import tempfile
import time
from pathlib import Path

import torch
from playwright.sync_api import sync_playwright

from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.write import write_maps
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.seeding import seeded_generator
from unweight.report.subject import write_subject_page
from unweight.signals.parameters import PD, T1, B
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.tissue.materials import BRAIN, INDEX, SILENT

SHAPE = (181, 217, 181)
NOISE = 0.03
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def maps_of(labels: torch.Tensor, inside: torch.Tensor) -> ParameterMaps:
    generator = seeded_generator(0, "page")
    t1 = 0.3 + 0.25 * (labels % 9).float()
    values = torch.stack([t1, 500 + 40 * (labels % 7).float(), torch.full(SHAPE, 1.9)], dim=-1)
    values = values * (1 + NOISE * torch.randn(values.shape, generator=generator))
    values[~inside] = torch.nan
    status = torch.where(inside, int(VoxelStatus.OK), int(VoxelStatus.MASKED)).to(torch.uint8)
    spread = NOISE * values.abs() * (1 + 0.1 * torch.randn(values.shape, generator=generator))
    misfit = torch.randn((*SHAPE, 4), generator=generator).square().mean(-1)
    affine = torch.eye(4, dtype=torch.float64)
    return ParameterMaps(
        specs=(T1, PD, B), values=values, std=spread.abs(), status=status, misfit=misfit, affine=affine
    )


def seconds_to_use(page: Path) -> float:
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        began = time.perf_counter()
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-viewer=live]", state="attached", timeout=120_000)
        seconds = time.perf_counter() - began
        browser.close()
    return seconds


def main() -> None:
    labels = procedural_head(
        seeded_generator(0, "head"), shape=SHAPE, voxel_mm=(1.0, 1.0, 1.0), centre_mm=(0.0, -16.0, 12.0)
    ).labels
    brain = torch.isin(labels, torch.tensor([INDEX[name] for name in BRAIN], dtype=labels.dtype))
    silent = torch.tensor([INDEX[name] for name in SILENT], dtype=labels.dtype)
    for name, inside in (("brain", brain), ("whole head", ~torch.isin(labels, silent))):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            write_maps(maps_of(labels, inside), out, {"sub": "01"}, Provenance(sources=(), algorithm="x"))
            began = time.perf_counter()
            page = write_subject_page(out, "01")
            made = time.perf_counter() - began
            size = page.stat().st_size / 1e6
            loads = sorted(seconds_to_use(page) for _ in range(3))
            text = page.read_text()
            count = int(inside.sum())
            print(
                f"{name}: {count:,} voxels, {size:.1f} MB, made in {made:.1f} s, "
                f"usable after {loads[1]:.1f} s, {text.count('the files are complete')} of 3 maps reduced"
            )


if __name__ == "__main__":
    main()
