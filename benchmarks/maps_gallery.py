"""Accuracy of T1, T2 and PD for the protocols of known studies, as their headers give them, by simulation.

For each protocol, the images of two heads that no training has seen are simulated and mapped with what
`unweight maps` reads of their headers. 3-D turbo spin echoes are simulated with trains whose design is
drawn (`signals.variable_train`), and mapped with the one that is assumed. A cell is the mean absolute error
and, in parentheses, the coverage of the 90 % interval, over pure voxels.

python benchmarks/maps_gallery.py BRAINWEB_DIR [DRAWS] > benchmarks/results/maps-gallery.tsv
"""

import sys
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
from unweight.signals.variable_train import EquivalentTrain, equivalent_train
from unweight.synth.protocols.standard import FLAIR, MPRAGE, SPIN_ECHO, Scan
from unweight.synth.sampling import draw_log_uniform
from unweight.synth.simulate_weighted import examine

Fields = Mapping[str, object]
N_HEADS, N_DRAWS, N_SLICES = 2, 3, 6
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
        "3-D examination, Siemens (OpenNeuro ds007135)",
        "sidecars of T2w and FLAIR; T1w typical",
        {"T1w": mprage(2.3, 0.9, 0.00298, 9), "T2w": turbo(3.2, 0.455), "FLAIR": turbo(5.0, 0.475, 1.81)},
    ),
    Study(
        "3-D FLAIR, Philips (OpenNeuro ds004910)",
        "sidecar of FLAIR; T1w typical",
        {"T1w": mprage(2.3, 0.9, 0.0042, 8), "FLAIR": turbo(4.8, 0.295648, 1.65)},
    ),
    Study(
        "3-D FLAIR, Siemens (OpenNeuro ds005270)",
        "sidecars",
        {"T1w": mprage(2.0, 1.1, 0.00263, 9), "FLAIR": turbo(4.0, 0.466, 2.5)},
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
        "clinical, 3 T, MPRAGE and 2-D turbo spin echo",
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


def other_train(weighting: Weighting, generator: torch.Generator) -> Weighting:
    """Return the weighting with another design of its train of low angles, if it has one."""
    nominal = weighting.time("nominal_echo_time")
    if nominal is None:
        return weighting
    mean = equivalent_train(nominal)
    train = drawn(mean, generator)
    values = {"echo_time": train.echo_time, "train_shape": train.shape}
    tensors = {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}
    return replace(weighting, protocol=replace(weighting.protocol, **tensors))


def drawn(mean: EquivalentTrain, generator: torch.Generator) -> EquivalentTrain:
    """Draw an equivalent echo time between the ends of the designs, evenly in its logarithm."""
    return replace(mean, echo_time=draw_log_uniform((mean.lowest, mean.highest), generator))


def scan_of(name: str, weighting: Weighting) -> Scan:
    full = completed(weighting)[0]
    model = MPRAGE if full.readout is Readout.MPRAGE else FLAIR if full.inverts else SPIN_ECHO
    return Scan(name=name, model=model, protocol=full.protocol)


def main() -> None:
    folder, draws = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else N_DRAWS
    estimator, _ = load_estimator("maps")
    heads = brainweb_heads(folder, N_HEADS)
    print("\t".join(["protocol", "map", *TISSUES]))
    for study in GALLERY:
        read = weightings(study)
        errors: dict[tuple[str, str], list[torch.Tensor]] = {}
        held: dict[tuple[str, str], list[torch.Tensor]] = {}
        try:
            for place, head in enumerate(heads):
                for draw in range(draws):
                    generator = seeded_generator(0, "gallery", study.name, place, draw)
                    field = next(iter(read.values())).protocol.field_strength or 3.0
                    scans = tuple(
                        scan_of(name, other_train(weighting, generator)) for name, weighting in read.items()
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
                bias = f", bias {100 * float(error.mean()):+.1f}" if "-v" in sys.argv else ""
                cells.append(
                    f"{float(100 * error.abs().mean()):.1f} % ({float(100 * inside.mean()):.0f} %){bias}"
                )
            print("\t".join([study.name, name, *cells]), flush=True)


if __name__ == "__main__":
    main()
