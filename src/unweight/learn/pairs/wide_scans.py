"""Further gradient echoes of one simulated person, of flip angles, TR, echo times and SNR as they occur.

    flip angle 3 to 30 degrees, evenly in its logarithm       TR 15 to 70 ms, likewise, beyond the last TE
    3 to 12 echoes from 1.5 to 7 ms on, 2 to 8 ms apart, the last between 8.5 ms after the first and 60 ms
    SNR 15 to 200, evenly in its logarithm                    every third scan cut to a box, as crops are

The flip angle reached differs from the nominal one by the transmit field of the person, smooth in space,
and by an error of the whole scan. Scans are magnitudes; the susceptibility is that of another scan of the
same person.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.learn.pairs.pair import (
    LEAST,
    MARGIN,
    EchoMaps,
    Pair,
    box_of,
    maps_of_echoes,
    pair_of,
)
from unweight.learn.pairs.scan_range import (
    BASELINE,
    FIELD_STRENGTH,
    FIRST_ECHO,
    FLIP_ANGLE,
    LAST_ECHO,
    N_ECHOES,
    REPETITION_TIME,
    SNR,
    Ends,
)
from unweight.synth.protocols.standard import Scan, echo_scan
from unweight.synth.sampling import draw_count, draw_log_uniform, draw_uniform
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.stream import scanned
from unweight.synth.tissue.scene import Scene

FLIP_ANGLES: Ends = (math.radians(3.0), math.radians(30.0))
REPETITION_TIMES: Ends = (0.015, 0.070)
FIRST_ECHOES: Ends = (0.0015, 0.007)
SPACINGS: Ends = (0.002, 0.008)
COUNTS = (3, 12)
LATEST, AFTER_LAST = 0.060, 0.002  # [s]
SNRS: Ends = (15.0, 200.0)
ANGLE_ERROR: Ends = (0.88, 1.14)  # of a whole scan, beside the transmit field of the person
CUT_EVERY = 3
BOX_MM: Ends = (30.0, 80.0)  # sides of the part that is left
FEWEST_VOXELS = 4000
ENDS: Mapping[str, Ends] = MappingProxyType(
    {
        FLIP_ANGLE: FLIP_ANGLES,
        REPETITION_TIME: REPETITION_TIMES,
        FIRST_ECHO: FIRST_ECHOES,
        LAST_ECHO: (FIRST_ECHOES[0] + BASELINE, LATEST),
        N_ECHOES: (float(COUNTS[0]), float(COUNTS[1])),
        FIELD_STRENGTH: (3.0, 3.0),
        SNR: SNRS,
    }
)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PersonMaps:
    """What all scans of one person share.

    Attributes:
        scene: Tissue and fields.
        maps: Of the first scan, which has the brain and the susceptibility.
        target: T1w, white matter at 1, 0 outside the brain.
        labels: Structures.
        about: Of the person; `name` is needed.
    """

    scene: Scene
    maps: EchoMaps
    target: Float[Tensor, "x y z"]
    labels: UInt8[Tensor, "x y z"]
    about: Mapping[str, object]


def draw_wide_scan(generator: torch.Generator) -> Scan:
    """Draw a gradient echo at 3 T."""
    flip_angle = draw_log_uniform(FLIP_ANGLES, generator)
    n = draw_count(*COUNTS, generator)
    first = draw_uniform(FIRST_ECHOES, generator)
    room = (LATEST - first) / (n - 1)
    shortest = max(SPACINGS[0], BASELINE / (n - 1))
    spacing = draw_uniform((shortest, max(shortest, min(SPACINGS[1], room))), generator)
    times = [first + echo * spacing for echo in range(n)]
    repetition_time = max(times[-1] + AFTER_LAST, draw_log_uniform(REPETITION_TIMES, generator))
    return echo_scan(times, repetition_time, flip_angle)


def further_pair(person: PersonMaps, number: int, generator: torch.Generator) -> Pair:
    """Return the pair of one further scan.

    Args:
        person: Whose scan it is.
        number: Of the scan, from 1.
        generator: For the scan and its noise.
    """
    scan = draw_wide_scan(generator)
    error = draw_uniform(ANGLE_ERROR, generator)
    box = box_of(person.maps.mask, MARGIN, LEAST)
    scene = _cut(person.scene, box)
    scene = replace(scene, fields={**scene.fields, "B1": scene.fields["B1"] * error})
    prior = MeasurementPrior(kind=SignalKind.MAGNITUDE, snr=SNRS, moving=0.0, rounding=0.0)
    magnitude, noise, _ = scanned(scene, scan, prior, generator)
    mask = person.maps.mask[box]
    if number % CUT_EVERY == 0:
        mask = _part_of(mask, person.maps.voxel_mm, generator)
    chi = person.maps.chi
    acquisition = Acquisition(
        signal=magnitude,
        protocol=scan.protocol,
        kind=SignalKind.MAGNITUDE,
        affine=scene.affine,
        mask=mask,
        noise_sd=noise,
    )
    maps = maps_of_echoes(acquisition, given={} if chi is None else {"Chi": chi[box]})
    about = {**person.about, "name": f"{person.about['name']}-{number}"}
    return pair_of(maps, person.target[box] * maps.mask, person.labels[box], about)


def _cut(scene: Scene, box: tuple[slice, slice, slice]) -> Scene:
    """Return the part of a scene in a box; its affine keeps the size of voxels only."""
    return replace(
        scene,
        fractions=scene.fractions[box],
        texture=scene.texture[box],
        fields={name: values[box] for name, values in scene.fields.items()},
        magnetic=None if scene.magnetic is None else scene.magnetic[box],
    )


def _part_of(
    mask: Bool[Tensor, "x y z"], voxel_mm: tuple[float, float, float], generator: torch.Generator
) -> Bool[Tensor, "x y z"]:
    """Return the part of a mask in a box about one of its voxels; all of it where that is too little."""
    places = mask.nonzero()
    middle = places[draw_count(0, len(places) - 1, generator)].tolist()
    part = torch.zeros_like(mask)
    halves = [draw_uniform(BOX_MM, generator) / (2 * size) for size in voxel_mm]
    part[tuple(slice(max(0, int(m - h)), int(m + h) + 1) for m, h in zip(middle, halves, strict=True))] = (
        True
    )
    part &= mask
    return part if int(part.sum()) >= FEWEST_VOXELS else mask
