"""The images that lie beside a synthetic T1w image: the brain, and single draws."""

from jaxtyping import Bool
from torch import Tensor

from unweight.bids.derivatives.description import DerivedImage, set_desc
from unweight.core.maps import ParameterMaps


def made_beside(maps: ParameterMaps, mask: Bool[Tensor, "x y z"]) -> tuple[DerivedImage, ...]:
    """Return the mask of the brain, and the draws if there are some.

    Args:
        maps: The image.
        mask: The brain it was made for.
    """
    spec = maps.specs[0]
    images = [
        DerivedImage(
            key="brain",
            desc=set_desc("brain", spec.suffix),
            suffix="mask",
            values=mask,
            description="The brain with its CSF, as found in the echoes or given",
        )
    ]
    draws = () if maps.draws is None else maps.draws[..., 0].unbind(0)
    for number, draw in enumerate(draws, start=1):
        images.append(
            DerivedImage(
                key=f"draw {number}",
                desc=f"{spec.desc}{number}",
                suffix=spec.suffix,
                values=draw.nan_to_num(),
                description=f"Draw {number} of {len(draws)}: as sharp as an image, and none of them true",
                unit=spec.unit,
            )
        )
    return tuple(images)
