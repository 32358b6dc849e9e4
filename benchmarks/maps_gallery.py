"""Accuracy of T1, T2 and PD for the protocols of known studies, as their headers give them, by simulation.

For each protocol, the images of two heads that no training has seen are simulated and mapped with what
`unweight maps` reads of their headers. 3D turbo spin echoes are simulated with trains whose design is
drawn (`signals.variable_train`), and mapped with the one that is assumed; a time between inversions that is
not in the header likewise. A cell is the mean absolute error and, in parentheses, the coverage of the 90 %
interval, over pure voxels.

python benchmarks/maps_gallery.py BRAINWEB_DIR > benchmarks/results/maps-gallery.tsv
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from unweight.benchmark.weighted.datasets import (
    SCANNER,
    TISSUE,
    TISSUE_NAMES,
    brainweb_heads,
    tissue_of,
)
from unweight.bids.series.weighted import GivenWeighting, weighting_from
from unweight.bids.sidecar import Sidecar
from unweight.core.errors import UnweightError
from unweight.core.seeding import seeded_generator
from unweight.core.weighting import Readout, Weighting, completed
from unweight.learn.training.trainable import load_estimator
from unweight.synth.protocols.prior import with_drawn_design
from unweight.synth.protocols.standard import FLAIR, MPRAGE, SPIN_ECHO, Scan
from unweight.synth.sampling import draw_uniform
from unweight.synth.simulate_weighted import examine

Fields = Mapping[str, object]
N_HEADS, N_DRAWS, N_SLICES = 2, 4, 6
TISSUES, MAPS = ("white matter", "grey matter", "CSF"), ("T1", "T2", "PD")


@dataclass(frozen=True)
class Study:
    """The protocol of a study: fields of the headers by contrast, and where they are from."""

    name: str
    source: str
    images: Mapping[str, Fields]


def mprage(tr: float, ti: float, te: float, flip: float) -> Fields:
    return {
        "ScanningSequence": "GR_IR",
        "MRAcquisitionType": "3D",
        "RepetitionTime": tr,
        "InversionTime": ti,
        "EchoTime": te,
        "FlipAngle": flip,
        "MagneticFieldStrength": 3,
    }


def readout_only(excitations: float, te: float, flip: float, length: int | None) -> Fields:
    fields = {
        "ScanningSequence": "GR",
        "SequenceVariant": "MP",
        "MRAcquisitionType": "3D",
        "RepetitionTime": excitations,
        "EchoTime": te,
        "FlipAngle": flip,
        "MagneticFieldStrength": 3,
    }
    return fields if length is None else {**fields, "EchoTrainLength": length}


def turbo(tr: float, te: float, ti: float | None = None, *, kind: str = "3D", field: float = 3.0) -> Fields:
    fields = {
        "ScanningSequence": "SE",
        "MRAcquisitionType": kind,
        "RepetitionTime": tr,
        "EchoTime": te,
        "EchoTrainLength": 16 if kind == "2D" else 140,
        "MagneticFieldStrength": field,
    }
    return fields if ti is None else {**fields, "InversionTime": ti}


def spin(tr: float, te: float, field: float) -> Fields:
    return {
        "ScanningSequence": "SE",
        "RepetitionTime": tr,
        "EchoTime": te,
        "EchoTrainLength": 1,
        "MagneticFieldStrength": field,
    }


GALLERY = (
    Study(
        "Human Connectome Project, young adults",
        "Glasser et al., NeuroImage 80:105, 2013",
        {"T1w": mprage(2.4, 1.0, 0.00214, 8), "T2w": turbo(3.2, 0.565)},
    ),
    Study(
        "UK Biobank",
        "Alfaro-Almagro et al., NeuroImage 166:400, 2018",
        {"T1w": mprage(2.0, 0.88, 0.00201, 8), "FLAIR": turbo(5.0, 0.395, 1.8)},
    ),
    Study(
        "OASIS-3, Siemens Biograph",
        "LaMontagne et al., medRxiv 2019.12.13.19014902",
        {
            "T1w": mprage(2.4, 1.0, 0.00316, 8),
            "T2w": turbo(3.2, 0.455),
            "FLAIR": turbo(9.0, 0.091, 2.5, kind="2D"),
        },
    ),
    Study(
        "3D examination, Siemens (OpenNeuro ds007135)",
        "sidecars of T2w and FLAIR; T1w typical",
        {"T1w": mprage(2.3, 0.9, 0.00298, 9), "T2w": turbo(3.2, 0.455), "FLAIR": turbo(5.0, 0.475, 1.81)},
    ),
    Study(
        "3D FLAIR, Philips (OpenNeuro ds004910)",
        "sidecar of FLAIR; T1w typical",
        {"T1w": mprage(2.3, 0.9, 0.0042, 8), "FLAIR": turbo(4.8, 0.295648, 1.65)},
    ),
    Study(
        "3D FLAIR, Siemens (OpenNeuro ds005270)",
        "sidecars",
        {"T1w": mprage(2.0, 1.1, 0.00263, 9), "FLAIR": turbo(4.0, 0.466, 2.5)},
    ),
    Study(
        "3D FLAIR, Philips, TR of the inversion not in the header (OpenNeuro ds004910)",
        "sidecars, TI typical",
        {
            "T1w": {**readout_only(0.0085684, 0.004154, 8, 140), "InversionTime": 0.9},
            "FLAIR": turbo(4.8, 0.295648, 1.65),
        },
    ),
    Study(
        "UIH, TR of the inversion not in the header",
        "sidecar of T1w; T2w and FLAIR typical",
        {
            "T1w": {**readout_only(0.00725, 0.0031, 10, None), "InversionTime": 0.75},
            "T2w": turbo(6.0, 0.09, kind="2D"),
            "FLAIR": turbo(9.0, 0.11, 2.5, kind="2D"),
        },
    ),
    Study(
        "ADNI 3, GE (contrast-equivalent TE)",
        "typical values",
        {"T1w": mprage(2.3, 0.9, 0.003, 11), "FLAIR": turbo(4.8, 0.119, 1.65)},
    ),
    Study(
        "clinical, 1.5 T, spin echo",
        "typical values",
        {
            "T1w": spin(0.5, 0.012, 1.5),
            "T2w": turbo(4.5, 0.1, kind="2D", field=1.5),
            "FLAIR": turbo(9.0, 0.11, 2.5, kind="2D", field=1.5),
        },
    ),
    Study(
        "clinical, 3 T, MPRAGE and 2D turbo spin echo",
        "typical values",
        {
            "T1w": mprage(2.3, 0.9, 0.003, 9),
            "T2w": turbo(6.15, 0.086, kind="2D"),
            "FLAIR": turbo(9.0, 0.12, 2.5, kind="2D"),
        },
    ),
)


def weightings(study: Study) -> dict[str, Weighting]:
    """Return how each image was made, as it is read of the headers."""
    return {
        name: weighting_from(name, Sidecar(image=Path(f"{name}.nii.gz"), fields=fields), GivenWeighting())
        for name, fields in study.images.items()
    }


def with_drawn_cycle(weighting: Weighting, generator: torch.Generator) -> Weighting:
    """Return the weighting with a time between inversions between those that are assumed possible."""
    if not weighting.alternatives:
        return weighting
    cycles = [float(other.require("repetition_time", "an MPRAGE")[0]) for other in weighting.alternatives]
    drawn = draw_uniform((min(cycles), max(cycles)), generator)
    value = torch.tensor([drawn], dtype=torch.float64)
    return replace(weighting, protocol=replace(weighting.protocol, repetition_time=value))


def scan_of(name: str, weighting: Weighting) -> Scan:
    full = completed(weighting)[0]
    model = MPRAGE if full.readout is Readout.MPRAGE else FLAIR if full.inverts else SPIN_ECHO
    return Scan(name=name, model=model, protocol=full.protocol)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("brainweb", type=Path)
    parser.add_argument("--draws", type=int, default=N_DRAWS)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--only", default="", help="studies whose name contains this")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the bias as well")
    options = parser.parse_args()
    folder, draws = options.brainweb, options.draws
    estimator, _ = load_estimator("maps", options.weights)
    heads = brainweb_heads(folder, N_HEADS)
    print("\t".join(["protocol", "map", *TISSUES]))
    for study in (item for item in GALLERY if options.only in item.name):
        read = weightings(study)
        errors: dict[tuple[str, str], list[torch.Tensor]] = {}
        held: dict[tuple[str, str], list[torch.Tensor]] = {}
        try:
            for place, head in enumerate(heads):
                for draw in range(draws):
                    generator = seeded_generator(0, "gallery", study.name, place, draw)
                    field = next(iter(read.values())).protocol.field_strength or 3.0
                    scans = tuple(
                        with_drawn_design(scan_of(name, with_drawn_cycle(weighting, generator)), generator)
                        for name, weighting in read.items()
                    )
                    examined = examine(
                        head.stack(N_SLICES),
                        (2, 2, 4),
                        TISSUE.draw(generator, field),
                        scans,
                        generator,
                        SCANNER,
                    )
                    images = tuple(
                        replace(image, weighting=read[image.name]) for image in examined.examination.images
                    )
                    maps = estimator(replace(examined.examination, images=images))
                    tissue = tissue_of(examined)
                    assert maps.lower is not None and maps.upper is not None
                    for number, name in enumerate(MAPS):
                        truth = examined.truth[..., number]
                        value, low, high = (
                            part[..., number] for part in (maps.values, maps.lower, maps.upper)
                        )
                        for label in TISSUES:
                            voxels = (tissue == TISSUE_NAMES.index(label)) & torch.isfinite(value)
                            key = (name, label)
                            errors.setdefault(key, []).append((value / truth - 1)[voxels])
                            held.setdefault(key, []).append(((low <= truth) & (truth <= high))[voxels])
        except UnweightError as error:
            print("\t".join([study.name, "", f"rejected: {error.problem}", "", ""]), flush=True)
            continue
        for name in MAPS:
            cells = []
            for label in TISSUES:
                error, inside = torch.cat(errors[name, label]), torch.cat(held[name, label]).double()
                bias = f", bias {100 * float(error.mean()):+.1f}" if options.verbose else ""
                cells.append(
                    f"{float(100 * error.abs().mean()):.1f} % ({float(100 * inside.mean()):.0f} %){bias}"
                )
            print("\t".join([study.name, name, *cells]), flush=True)


if __name__ == "__main__":
    main()
