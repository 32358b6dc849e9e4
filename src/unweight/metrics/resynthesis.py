"""The images that maps say there should be, beside those there are.

    Ŝ_i = g_i · S_i(T1, T2, PD),    g_i = median over the brain of S_i / S_i(T1, T2, PD)

with the signal equation of each image's readout. Maps whose images do not look like the images they were
made from are wrong, whatever else speaks for them; the reverse does not hold. The receive sensitivity of a
coil is in the images and not in relative PD: where no bias field was taken out it lowers the correlation.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.examination import WeightedImageSet
from unweight.core.maps import ParameterMaps
from unweight.core.weighting import completed
from unweight.signals.weighted import weighted_signal

MAPS = ("T1", "T2", "PD")
FEWEST = 10


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SynthesisedImage:
    """One image as the maps have it.

    Attributes:
        name: Contrast.
        signal: In the unit of the image it stands for; NaN where there is no map.
        gain: Intensity of that image over the signal of the maps.
        correlation: With that image, over the brain (Pearson).
        error: Median relative difference to it.
    """

    name: str
    signal: Float[Tensor, "*voxels"]
    gain: float
    correlation: float
    error: float


def resynthesise(maps: ParameterMaps, examination: WeightedImageSet) -> tuple[SynthesisedImage, ...]:
    """Return the image that the maps predict for each one of the examination.

    Raises:
        UsageError: Maps and images are not of one grid, or there is hardly any value.
    """
    if maps.status.shape != examination.voxels:
        raise UsageError(
            f"maps of {tuple(maps.status.shape)} for images of {tuple(examination.voxels)} voxels"
        )
    inside = examination.inside & ~maps.failed
    if int(inside.sum()) < FEWEST:
        raise UsageError(f"{int(inside.sum())} voxels with a value are too few to compare images on")
    t1, t2, pd = (maps.value(name)[inside].double() for name in MAPS)
    output = []
    for image in examination.images:
        row = completed(image.weighting)[0].row().to(t1)
        values = weighted_signal(t1, t2, pd, row)
        result = image.signal[inside].double()
        gain = float((result / values.clamp(min=1e-12)).median())
        signal = torch.full_like(image.signal, torch.nan)
        signal[inside] = (gain * values).to(signal)
        output.append(
            SynthesisedImage(
                name=image.name,
                signal=signal,
                gain=gain,
                correlation=float(torch.corrcoef(torch.stack([result, values]))[0, 1]),
                error=float(((gain * values - result).abs() / result.clamp(min=1e-12)).median()),
            )
        )
    return tuple(output)
