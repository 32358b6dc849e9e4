"""The network with the scan as an input against the shipped U-Net, on held-out scans of wide protocols.

python benchmarks/mprage_conditioned.py PAIRS [--weights DIR] > benchmarks/results/mprage-conditioned.tsv

PAIRS is the folder `pairs/validation` of a training of `mprage-conditioned`. A cell is the mean PSNR in the
central axial slices and, in parentheses, the coverage of the 90 % interval.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from unweight.learn.mprage.methods import load_synthesiser
from unweight.learn.pairs.echo_channels import CHI, MASK, Conditions
from unweight.learn.pairs.pair import DATA_RANGE, load_pair
from unweight.learn.pairs.pair_data import central_slices, features_of
from unweight.learn.pairs.planes import Planes
from unweight.learn.pairs.scan_range import FIELD_STRENGTH, SCAN, SNR, Ends
from unweight.metrics.image_quality import psnr

FEWEST_VOXELS = 500
TOLERANCE, NORMAL = 0.02, 1.6449
NAMES = ("mprage-unet", "mprage-conditioned")
NOT_COMPARED = (FIELD_STRENGTH, SNR, "voxel_mm")


@dataclass(frozen=True)
class Scan:
    flip: float  # [degrees]
    within: bool
    psnr: tuple[float, ...]
    coverage: tuple[float, ...]


def is_within(scan: dict[str, float], ranges: dict[str, Ends]) -> bool:
    return all(
        low * (1 - TOLERANCE) <= scan[name] <= high * (1 + TOLERANCE)
        for name, (low, high) in ranges.items()
        if name not in NOT_COMPARED
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    folders = (None, options.weights)
    networks = [
        load_synthesiser(name, folder, planes=Planes.AXIAL)
        for name, folder in zip(NAMES, folders, strict=True)
    ]
    scans = []
    for path in sorted(options.pairs.glob("*.safetensors")):
        pair = central_slices(load_pair(path))
        channels, truth = pair.channels.float(), pair.target.float()
        inside = channels[MASK] > 0
        if int(inside.sum()) < FEWEST_VOXELS:
            continue
        known = Conditions(chi=bool(channels[CHI].any()), scan=features_of(pair))
        images = [network(channels, known) for network, _ in networks]
        scan: dict[str, float] = pair.about[SCAN]  # type: ignore[assignment]  # as `pair_of` keeps it
        scans.append(
            Scan(
                flip=math.degrees(scan["flip_angle"]),
                within=is_within(scan, dict(networks[0][1].ranges)),
                psnr=tuple(psnr(image.mean, truth, inside, DATA_RANGE) for image in images),
                coverage=tuple(
                    float(((image.mean - truth).abs() <= NORMAL * image.sd)[inside].double().mean())
                    for image in images
                ),
            )
        )
    groups = {
        "all": scans,
        "within the range of `unet`": [scan for scan in scans if scan.within],
        "outside": [scan for scan in scans if not scan.within],
        "flip angle below 10°": [scan for scan in scans if scan.flip < 10],
        "10° to 20°": [scan for scan in scans if 10 <= scan.flip <= 20],
        "above 20°": [scan for scan in scans if scan.flip > 20],
    }
    print("scans\tnumber\t`unet`\t`conditioned`")
    for name, chosen in groups.items():
        cells = [
            f"{sum(scan.psnr[k] for scan in chosen) / len(chosen):.1f} dB "
            f"({100 * sum(scan.coverage[k] for scan in chosen) / len(chosen):.0f} %)"
            for k in range(len(NAMES))
        ]
        print("\t".join([name, str(len(chosen)), *cells]))


if __name__ == "__main__":
    main()
