"""Philips scaling: what a stored number means differs from series to series, and may differ within one.

With the stored number PV, rescale slope RS and intercept RI, and scale slope SS (Chenevert et al.,
Transl Oncol 7:65, 2014), the displayed value is DV = PV·RS + RI, the real-world value WV = PV·RWVS + RWVI,
and only the floating point value

    FP = (PV·RS + RI) / (RS·SS)

is in one unit across volumes. dcm2niix writes these numbers beside the image, and its image holds one of
the three. Which one depends on its version and its options, so it is read from the image: from slope and
intercept of the header, or from the step between the values. Where another program has rewritten the
values, the sidecar decides. Volumes that were scaled alike are left as they are.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from math import isclose
from typing import final

from unweight.bids.nifti.stored_numbers import SAME_STEP, steps_of
from unweight.bids.nifti.volume import Volume
from unweight.bids.sidecar import Sidecar
from unweight.core.errors import InputError

SCALE = "PhilipsScaleSlope"
RESCALE, RESCALE_INTERCEPT = "PhilipsRescaleSlope", "PhilipsRescaleIntercept"
WORLD, WORLD_INTERCEPT = "PhilipsRWVSlope", "PhilipsRWVIntercept"
NUMBERS = (SCALE, RESCALE, RESCALE_INTERCEPT, WORLD, WORLD_INTERCEPT)
DONE = "UsePhilipsFloatNotDisplayScaling"
VERSION = "ConversionSoftwareVersion"
# Before this version dcm2niix preferred real-world values.
PRECISE_SINCE = 20210317
SAME_INTERCEPT = 0.05  # in stored numbers
FULL_RANGE = 0.998
MOST_LISTED = 8
KEEP = (
    "Use DICOM with its private elements (2005,100E), or write PhilipsScaleSlope and "
    "PhilipsRescaleSlope of each volume into its sidecar."
)
AGAIN = "Convert the DICOM again with dcm2niix, and keep its sidecars."


@final
@dataclass(frozen=True, kw_only=True)
class Rescaling:
    """FP = factor · image + offset."""

    factor: float = 1.0
    offset: float = 0.0


class Held(Enum):
    """What the values of an image are."""

    PRECISE = "FP"
    DISPLAYED = "DV"
    WORLD = "WV"
    STORED = "PV"
    REWRITTEN = "values of another program"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Image:
    """A volume file with the scalings its sidecar gives; 0 where it gives none."""

    sidecar: Sidecar
    volume: Volume
    scale: float
    rescale: float
    intercept: float
    world: float
    world_intercept: float

    @property
    def numbers(self) -> tuple[float, ...]:
        return self.scale, self.rescale, self.intercept, self.world, self.world_intercept

    @property
    def lines(self) -> Iterator[tuple[Held, float, float]]:
        """Give slope and intercept of each value that the image may hold, as functions of PV."""
        if self.scale and (self.rescale or not self.intercept):
            yield (
                Held.PRECISE,
                1 / self.scale,
                self.intercept and self.intercept / (self.rescale * self.scale),
            )
        if self.rescale:
            yield Held.DISPLAYED, self.rescale, self.intercept
        if self.world:
            yield Held.WORLD, self.world, self.world_intercept


def rescalings(sidecars: Sequence[Sidecar], volumes: Sequence[Volume]) -> tuple[Rescaling, ...]:
    """Return what brings each file of a series to one unit: nothing, unless their scalings differ.

    Raises:
        InputError: They differ, and nothing says how.
    """
    images = [_image(*pair) for pair in zip(sidecars, volumes, strict=True)]
    unchanged = (Rescaling(),) * len(images)
    if not any(image.scale or _is_philips(image.sidecar) for image in images):
        return unchanged
    for image in images:
        _check_slices(image)
    if not any(image.scale for image in images):
        _check_alike(images)
        return unchanged
    held = [_held(image) for image in images]
    if len({(image.numbers, what) for image, what in zip(images, held, strict=True)}) == 1:
        return unchanged
    return tuple(_to_floating_point(image, what) for image, what in zip(images, held, strict=True))


def _image(sidecar: Sidecar, volume: Volume) -> _Image:
    scale, rescale, intercept, world, world_intercept = (sidecar.number(name) or 0.0 for name in NUMBERS)
    return _Image(
        sidecar=sidecar,
        volume=volume,
        scale=scale,
        rescale=rescale,
        intercept=intercept,
        world=world,
        world_intercept=world_intercept,
    )


def _is_philips(sidecar: Sidecar) -> bool:
    return "philips" in str(sidecar.fields.get("Manufacturer", "")).lower()


def check_one_unit(sidecar: Sidecar, volume: Volume) -> None:
    """Refuse one Philips image whose slices or volumes are not in one unit.

    Raises:
        InputError: They are not.
    """
    image = _image(sidecar, volume)
    if image.scale or _is_philips(sidecar):
        _check_slices(image)


def _check_slices(image: _Image) -> None:
    """Refuse a file of slices or volumes that were scaled differently; dcm2niix writes their DV as floats.

    Its sidecar holds the scale slope of the first only, and its header may apply that one to all.
    """
    if image.volume.scaling.is_integer:
        return
    steps = steps_of(image.volume.data)
    if len(steps) > 1 or (image.scale and image.volume.scaling.slope != 1 and not steps):
        raise InputError(
            "contains displayed values of Philips slices or volumes with different scaling "
            f"({_listed(steps) or 'floating point, with a slope in the header'})",
            remedy="Give the DICOM folder itself, or convert each volume into a file of its own, so that "
            f"each has its {SCALE}.",
            path=image.volume.grid.path,
        )


def _check_alike(images: Sequence[_Image]) -> None:
    """Refuse volumes whose slopes differ where none has a scale slope to explain it."""
    slopes = [_slope(image) for image in images]
    known = [slope for slope in slopes if slope is not None]
    if known and max(known) > (1 + SAME_STEP) * min(known):
        raise InputError(
            f"the Philips volumes of this series have different slopes ({_listed(known)}), and no {SCALE} "
            "shows whether their values share one scale; displayed values do not",
            remedy=KEEP,
            path=images[0].volume.grid.path,
        )


def _slope(image: _Image) -> float | None:
    """Return the slope the stored numbers were given; None if another program has rewritten them."""
    if image.volume.scaling.is_integer:
        return None if _fills_its_range(image.volume) else abs(image.volume.scaling.slope)
    steps = steps_of(image.volume.data)
    return steps[0] if steps else None


def _fills_its_range(volume: Volume) -> bool:
    """Whether the stored integers reach the end of their type, which programs do that choose the slope."""
    scaling = volume.scaling
    finite = volume.data[volume.data.isfinite()].double()
    highest = max(abs((float(end) - scaling.intercept) / scaling.slope) for end in finite.aminmax())
    return scaling.slope != 1 and highest >= FULL_RANGE * scaling.largest


def _listed(slopes: Sequence[float]) -> str:
    return ", ".join(dict.fromkeys(f"{slope:.4g}" for slope in sorted(slopes)[:MOST_LISTED]))


def _held(image: _Image) -> Held:
    """Return what the values of an image are, by the header, or by the step between floats."""
    scaling = image.volume.scaling
    if scaling.is_integer:
        for what, slope, intercept in image.lines:
            near = SAME_INTERCEPT * abs(slope)
            if isclose(scaling.slope, slope, rel_tol=SAME_STEP) and isclose(
                scaling.intercept, intercept, rel_tol=SAME_STEP, abs_tol=near
            ):
                return what
        return Held.STORED if (scaling.slope, scaling.intercept) == (1.0, 0.0) else Held.REWRITTEN
    for step in steps_of(image.volume.data)[:1]:
        for what, slope, _ in image.lines:
            if isclose(step, abs(slope), rel_tol=SAME_STEP):
                return what
    return Held.REWRITTEN


def _to_floating_point(image: _Image, held: Held) -> Rescaling:
    if held is Held.REWRITTEN and image.scale:
        held = _converted_to(image)
    if held is Held.STORED or not image.scale or (held is not Held.PRECISE and not image.rescale):
        raise InputError(
            f"the volumes of this series are scaled differently, and {SCALE}, {RESCALE}, {DONE} "
            "or the slope of the image is missing",
            remedy=AGAIN,
            path=image.sidecar.origin(SCALE),
        )
    if held is Held.PRECISE:
        return Rescaling()
    if held is Held.DISPLAYED:
        return Rescaling(factor=1 / (image.rescale * image.scale))
    return Rescaling(
        factor=1 / (image.world * image.scale),
        offset=(image.intercept / image.rescale - image.world_intercept / image.world) / image.scale,
    )


def _converted_to(image: _Image) -> Held:
    """Return what dcm2niix made of the values, by its option and its version."""
    done = image.sidecar.fields.get(DONE)
    if not isinstance(done, bool):
        number = image.sidecar.number(DONE)
        done = None if number is None else bool(number)
    if done is None:
        return Held.STORED
    wanted = Held.PRECISE if done else Held.DISPLAYED
    if not image.world:
        return wanted
    version = re.search(r"\d{8}", str(image.sidecar.fields.get(VERSION, "")))
    if version is None:
        return Held.STORED
    return wanted if int(version.group()) >= PRECISE_SINCE else Held.WORLD
