import pytest
import torch

from unweight.core.errors import InputError
from unweight.metrics.structures import DEEP, LABELS, STRUCTURES, TISSUES, from_materials
from unweight.synth.tissue.materials import BRAIN, INDEX, MATERIALS


def structure(material: str) -> str:
    return STRUCTURES[int(from_materials(torch.tensor(INDEX[material])))]


def test_the_order_is_the_label() -> None:
    assert ("background", *TISSUES, *DEEP) == STRUCTURES
    assert [LABELS[name] for name in STRUCTURES] == list(range(8))


def test_each_material_of_the_brain_is_a_structure_and_nothing_else_is() -> None:
    for material in MATERIALS:
        assert (structure(material) != "background") == (material in BRAIN)


def test_structures_of_materials() -> None:
    for name in (*TISSUES, *DEEP):
        assert structure(name) == name
    for name in ("red_nucleus", "substantia_nigra", "dentate", "ms_lesion", "tumour", "oedema"):
        assert structure(name) == "white_matter"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_shape_stays_and_labels_are_small(dtype: torch.dtype) -> None:
    labels = from_materials(torch.arange(len(MATERIALS), dtype=dtype).reshape(2, 3, 4))
    assert labels.shape == (2, 3, 4) and labels.dtype == torch.uint8
    assert from_materials(torch.zeros(0, dtype=dtype)).shape == (0,)


@pytest.mark.parametrize("number", [-1, len(MATERIALS)])
def test_message(number: int) -> None:
    with pytest.raises(InputError, match=f"only 0 to {len(MATERIALS) - 1} are known"):
        from_materials(torch.tensor([0, number]))
