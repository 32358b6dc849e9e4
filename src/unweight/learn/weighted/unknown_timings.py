"""What unknown timings of an image add to the uncertainty of maps.

Where an image has a train of low refocusing angles, which are not in the header (`signals.variable_train`),
the maps of some slices are used to change the image into what it would be at both ends of the equivalent
echo time, and the slices are mapped again as if nothing were changed. Half the difference of the logarithms
of these maps, h, its median over the brain, is the range of a uniform error that is added to the standard
deviation (h/√3) and to an interval of level L (L·h), in quadrature. T2 is proportional to the echo time of
T2w, so h of ln T2 is at least half the logarithm of the ratio of the two ends there.

Where times of an inversion are assumed (`Weighting.alternatives`), the image is changed into what it would
be with the extreme times, one after the other, and h is half the range of the maps, the 80th percentile
over the brain: T1 of white matter depends most on the time between inversions.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import ProtocolError
from unweight.core.examination import WeightedImageSet
from unweight.core.weighting import completed
from unweight.learn.weighted.task import N_MAPS
from unweight.signals.variable_train import equivalent_train
from unweight.signals.weighted import COLUMN, ln_decay, weighted_signal

N_PROBED = 4  # slices
PLACE_OF_T2 = 1
MOST = 0.8  # share of voxels whose range is included
MOST_RANKED = 1_000_000  # voxels that a quantile is taken of
UNIFORM_SD = 3.0**-0.5  # of a uniform error over the half of its range


def reach_of_design(
    measured: WeightedImageSet,
    ln_maps: Callable[[WeightedImageSet], Float[Tensor, "voxels maps"]],
) -> Float[Tensor, " maps"]:
    """Return h of ln T1, ln T2 and ln PD; 0 where no train of low angles was assumed.

    Args:
        measured: The examination.
        ln_maps: Returns the logarithms of the maps inside of an examination.
    """
    none = torch.zeros(N_MAPS)
    if all(image.weighting.time("nominal_echo_time") is None for image in measured.images):
        return none
    probed = _probed(measured, ln_maps)
    if probed is None:
        return none
    wide = _range([_as_designed(*probed, end) for end in ("lowest", "highest")], ln_maps)
    half = (wide.nanmedian(0).values / 2).nan_to_num().cpu()
    half[PLACE_OF_T2] = max(float(half[PLACE_OF_T2]), _range_of_t2w(measured))
    return half


def reach_of_timings(
    measured: WeightedImageSet,
    ln_maps: Callable[[WeightedImageSet], Float[Tensor, "voxels maps"]],
) -> Float[Tensor, " maps"]:
    """Return h of ln T1, ln T2 and ln PD for assumed times of inversions; 0 where none was assumed.

    Args:
        measured: The examination.
        ln_maps: Returns the logarithms of the maps inside of an examination.
    """
    total = torch.zeros(N_MAPS)
    places = [place for place, image in enumerate(measured.images) if image.weighting.alternatives]
    probed = _probed(measured, ln_maps) if places else None
    if probed is None:
        return total
    for place in places:
        changed = list(_as_timed(*probed, place))
        if changed:
            wide = _range(changed, ln_maps)
            thin = wide[:: 1 + len(wide) // MOST_RANKED]
            total = torch.hypot(total, (thin.nanquantile(MOST, dim=0) / 2).nan_to_num().cpu())
    return total


def _probed(
    measured: WeightedImageSet, ln_maps: Callable[[WeightedImageSet], Float[Tensor, "voxels maps"]]
) -> tuple[WeightedImageSet, Float[Tensor, "x y z 3"]] | None:
    """Return a few slices of an examination, and their maps; None if no slice has brain."""
    layers = measured.inside.flatten(0, 1).any(0).nonzero()[:, 0]
    if not len(layers):
        return None
    places = torch.linspace(0, len(layers) - 1, 2 + N_PROBED).round().long()[1:-1]
    chosen = layers[torch.tensor(sorted(set(places.tolist())), device=layers.device)]
    images = (replace(image, signal=image.signal[:, :, chosen]) for image in measured.images)
    probe = replace(measured, images=tuple(images), mask=measured.mask[:, :, chosen])
    theta = torch.full((*probe.voxels, N_MAPS), torch.nan)
    theta[probe.inside.cpu()] = ln_maps(probe).float().cpu().exp()
    return probe, theta


def _range(
    changed: Sequence[WeightedImageSet], ln_maps: Callable[[WeightedImageSet], Float[Tensor, "voxels maps"]]
) -> Float[Tensor, "voxels maps"]:
    """Return the range of the maps of changed examinations."""
    maps = torch.stack([ln_maps(examination) for examination in changed])
    return maps.amax(0) - maps.amin(0)


def _range_of_t2w(measured: WeightedImageSet) -> float:
    """Return half the logarithm of the ratio of the ends of the echo time of T2w; 0 if it is known."""
    for image in measured.images:
        nominal = image.weighting.time("nominal_echo_time")
        if image.name == "T2w" and nominal is not None:
            train = equivalent_train(nominal)
            return math.log(train.highest / train.lowest) / 2
    return 0.0


def with_uniform(width: Float[Tensor, "*shape maps"], other: Float[Tensor, " maps"]) -> Tensor:
    """Return widths with those of another error added in quadrature; untouched where all of these are 0."""
    if not bool((other > 0).any()):
        return width
    return torch.hypot(width, other.to(width).expand_as(width))


def _as_designed(measured: WeightedImageSet, theta: Float[Tensor, "x y z 3"], end: str) -> WeightedImageSet:
    """Return the images that trains at one end of their equivalent echo times would have given."""
    t1, t2, _ = theta.unbind(-1)
    images = []
    for image in measured.images:
        nominal = image.weighting.time("nominal_echo_time")
        if nominal is None:
            images.append(image)
            continue
        row = image.weighting.row().float()
        other = row.clone()
        other[COLUMN["echo_time"]] = getattr(equivalent_train(nominal), end)
        ratio = (ln_decay(t1, t2, other) - ln_decay(t1, t2, row)).exp().nan_to_num(1.0)
        images.append(replace(image, signal=image.signal * ratio.to(image.signal)))
    return replace(measured, images=tuple(images))


def _as_timed(
    measured: WeightedImageSet, theta: Float[Tensor, "x y z 3"], place: int
) -> Iterator[WeightedImageSet]:
    """Give the examination as if one image had been acquired with each of its alternative timings."""
    image = measured.images[place]
    t1, t2, pd = theta.unbind(-1)
    before = weighted_signal(t1, t2, pd, completed(image.weighting)[0].row().float())
    for protocol in image.weighting.alternatives:
        try:
            other = completed(replace(image.weighting, protocol=protocol))[0].row().float()
        except ProtocolError:  # the assumed train does not fit
            continue
        ratio = (weighted_signal(t1, t2, pd, other) / before).nan_to_num(1.0)
        changed = replace(image, signal=image.signal * ratio.to(image.signal))
        yield replace(measured, images=(*measured.images[:place], changed, *measured.images[place + 1 :]))
