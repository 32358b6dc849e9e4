"""What maps of two of the three weighted images are worth, as measured in simulation.

Mean absolute errors over pure voxels of white and grey matter in the internal test of `evaluate maps`
(`benchmarks/maps_two_images.py`), for the weights of this package alone: others were not measured.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType

from unweight.learn.training.weights import digest_of
from unweight.learn.weighted.features import NAMES

# Of the weights whose SHA-256 begins so: T1, T2 and PD in white and grey matter [%], by absent image.
MEASURED = "53600c7523fa3d70"
ERRORS: Mapping[str, tuple[tuple[float, float], ...]] = MappingProxyType(
    {
        "FLAIR": ((5.4, 5.2), (4.4, 6.2), (2.2, 1.7)),
        "T2w": ((7.3, 7.1), (9.7, 19.4), (2.5, 1.9)),
        "T1w": ((9.0, 7.6), (4.1, 5.8), (2.5, 1.6)),
    }
)
# Coverage of the nominal 90 % interval of T2 in grey matter without T2w [%].
LOW_COVERAGE: Mapping[str, str] = MappingProxyType(
    {"T2w": "; the 90 % interval of T2 holds the truth in 82 % of voxels of grey matter only"}
)


def note_on_fewer_images(names: Collection[str], weights: str, folder: Path | None = None) -> str:
    """Return the accuracy of maps without one of the images, in words; empty with all three.

    Args:
        names: Of the images there are.
        weights: Name of the weights; empty for a method without.
        folder: Where they lie; None for those of the package.

    Raises:
        InputError: There are no such weights.
    """
    absent = [name for name in NAMES if name not in names]
    if len(absent) != 1:
        return ""
    (image,) = absent
    if not weights or not digest_of(weights, folder).startswith(MEASURED):
        return f"mapped without {image}; the accuracy of this method without it has not been measured"
    errors = ", ".join(
        f"{name} {white:g} / {grey:g} %"
        for name, (white, grey) in zip(("T1", "T2", "PD"), ERRORS[image], strict=True)
    )
    return (
        f"mapped without {image}: mean error in simulated white / grey matter {errors}"
        f"{LOW_COVERAGE.get(image, '')}"
    )
