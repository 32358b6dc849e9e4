import math

import pytest
import torch

from unweight.core.errors import InputError, ProtocolError
from unweight.core.examination import WeightedImage, WeightedImageSet
from unweight.core.protocol import protocol_from_values
from unweight.core.weighting import Readout, Weighting

SPIN = Weighting(
    readout=Readout.SPIN_ECHO, protocol=protocol_from_values(repetition_time=[0.6], echo_time=[0.01])
)
MASK = torch.tensor([[True, True], [True, False]])


def image(name: str = "T1w", *shape: int, value: float = 1.0) -> WeightedImage:
    return WeightedImage(name=name, weighting=SPIN, signal=torch.full(shape or (2, 2), value))


def test_inside_is_the_mask_where_all_images_are_finite() -> None:
    first, second = image("T1w"), image("T2w")
    second.signal[0, 1] = math.nan
    first.signal[1, 1] = math.inf
    both = WeightedImageSet(images=(first, second), mask=MASK, field_strength=3.0)
    assert both.inside.tolist() == [[True, False], [True, False]]
    assert both.voxels == torch.Size((2, 2))
    assert both.affine is None


@pytest.mark.parametrize("field", [0.0, -3.0, math.nan, math.inf])
def test_impossible_fields(field: float) -> None:
    with pytest.raises(ProtocolError, match=r"a field strength of .* T is not possible"):
        WeightedImageSet(images=(image(),), mask=MASK, field_strength=field)


def test_messages() -> None:
    with pytest.raises(InputError, match="an examination without images"):
        WeightedImageSet(images=(), mask=MASK, field_strength=3.0)
    with pytest.raises(InputError, match=r"different shapes: T1w \(2, 2\), T2w \(2, 3\), mask \(2, 2\)"):
        WeightedImageSet(images=(image(), image("T2w", 2, 3)), mask=MASK, field_strength=3.0)
    with pytest.raises(InputError, match=r"the brain mask contains no voxel"):
        WeightedImageSet(images=(image(),), mask=~(MASK | True), field_strength=3.0)
    with pytest.raises(InputError, match=r"the FLAIR has negative values\. Give the magnitude"):
        image("FLAIR", value=-1.0)
