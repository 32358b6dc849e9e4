"""Small examinations without noise whose T1, T2 and PD are known: stripes of tissue and CSF."""

import math

import torch
from torch import Tensor

from unweight.core.examination import WeightedImage, WeightedImageSet
from unweight.core.protocol import protocol_from_values
from unweight.core.weighting import Readout, Weighting
from unweight.learn.weighted.features import anchors_of, features_of
from unweight.learn.weighted.slabs import rows_of
from unweight.signals.weighted import weighted_signal

# T1, T2 [s] and PD relative to CSF: white matter, cortex, deep grey matter, CSF.
WATERS = ((0.85, 0.07, 0.7), (1.45, 0.09, 0.82), (1.2, 0.08, 0.78), (4.3, 1.9, 1.0))
STRIPES = (0, 1, 0, 2, 1, 3)
NAMES = ("T1w", "T2w", "FLAIR")
SPIN_TIMINGS = ("repetition_time", "echo_time")
READ_OUT = {
    "T1w spin-echo": SPIN_TIMINGS,
    "T1w mprage": (*SPIN_TIMINGS, "inversion_time"),
    "T2w turbo-spin-echo": SPIN_TIMINGS,
    "FLAIR turbo-spin-echo": (*SPIN_TIMINGS, "inversion_time"),
}
# A range of weightings that refuses no timing, as a card holds it.
ANY_TIMINGS = {"field_strength": (1.5, 3.0)} | {
    f"{kind} {timing}": (0.001, 15.0) for kind, timings in READ_OUT.items() for timing in timings
}


def spin_echo(tr: float = 0.6, te: float = 0.012) -> Weighting:
    """Return a spin echo of one echo."""
    protocol = protocol_from_values(repetition_time=[tr], echo_time=[te])
    return Weighting(readout=Readout.SPIN_ECHO, protocol=protocol)


def turbo(tr: float = 5.0, te: float = 0.1, ti: float | None = None, end: float | None = 0.19) -> Weighting:
    """Return a turbo spin echo; a FLAIR if TI is given."""
    protocol = protocol_from_values(
        repetition_time=[tr],
        echo_time=[te],
        inversion_time=None if ti is None else [ti],
        readout_time=None if end is None else [end],
    )
    return Weighting(readout=Readout.TURBO_SPIN_ECHO, protocol=protocol)


def mprage(**train: float) -> Weighting:
    """Return an MPRAGE; its train is not told unless given."""
    protocol = protocol_from_values(
        repetition_time=[2.3],
        inversion_time=[0.9],
        echo_time=[0.003],
        flip_angle=[math.radians(9)],
        **{name: [value] for name, value in train.items()},
    )
    return Weighting(readout=Readout.MPRAGE, protocol=protocol)


SPIN, T2W, FLUID = spin_echo(), turbo(), turbo(9.0, 0.1, 2.5)
GRADIENT = mprage(echo_spacing=0.0071, train_length=176, centre_index=88)


def truth(height: int = 24, width: int = 20, slices: int = 2) -> Tensor:
    """Return T1 [s], T2 [s] and PD of stripes four voxels wide, shifted from slice to slice."""
    x, z = torch.arange(height)[:, None], torch.arange(slices)
    stripe = torch.tensor(STRIPES)[((x + 2 * z) // 4) % len(STRIPES)]
    return torch.tensor(WATERS)[stripe][:, None].expand(height, width, slices, 3).contiguous()


def mask_of(maps: Tensor) -> Tensor:
    """Return all voxels but a border."""
    mask = torch.zeros(maps.shape[:-1], dtype=torch.bool)
    mask[2:-2, 3:-3] = True
    return mask


def examination(
    weightings: tuple[Weighting, ...] = (SPIN, T2W, FLUID),
    *,
    names: tuple[str, ...] = NAMES,
    gains: tuple[float, ...] = (900.0, 350.0, 1200.0),
    maps: Tensor | None = None,
) -> WeightedImageSet:
    """Return images of the stripes, each times its gain."""
    maps = truth() if maps is None else maps
    images = []
    for name, weighting, gain in zip(names, weightings, gains, strict=False):
        row = weighting.row() if weighting.readout is not Readout.MPRAGE else GRADIENT.row()
        signal = gain * weighted_signal(*maps.double().unbind(-1), row)
        images.append(WeightedImage(name=name, weighting=weighting, signal=signal.float()))
    return WeightedImageSet(images=tuple(images), mask=mask_of(maps), field_strength=3.0)


def batch_of(measured: WeightedImageSet, maps: Tensor) -> dict[str, Tensor]:
    """Return what a network is trained on, one slice an element, with its truth."""
    signals = torch.stack([one.signal for one in measured.images])
    inside, rows = measured.inside.movedim(-1, 0), rows_of(measured).float()
    anchors = anchors_of(signals, measured.inside)
    there = torch.ones(len(signals), dtype=torch.bool)
    planes = signals.movedim(-1, 0)
    features = features_of(planes, inside, anchors, rows, measured.field_strength, there)
    count = len(planes)
    target = maps.log().permute(2, 3, 0, 1)
    return {
        "images": features.images,
        "physics": features.physics,
        "target": torch.where(inside[:, None], target, torch.nan),
        "weight": torch.ones(inside.shape),
        "rows": rows.expand(count, -1, -1).clone(),
        "levels": anchors.levels.expand(count, -1, -1).clone(),
        "present": torch.ones(count, len(signals)),
        "field": torch.full((count, 1), measured.field_strength),
    }


def without(batch: dict[str, Tensor], image: int, junk: float = math.nan) -> dict[str, Tensor]:
    """Return the batch without one image; in what is left of it stands junk."""
    made = {name: one.clone() for name, one in batch.items()}
    made["present"][:, image] = 0.0
    made["rows"][:, image] = math.nan
    made["images"][:, image] = 0.0
    made["levels"][:, image] = junk
    return made
