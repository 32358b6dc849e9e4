"""Lateral ventricles of a procedural head, whose places are known."""

import pytest
import torch

from unweight.core.errors import InputError
from unweight.learn.labelled_heads.store import procedural_heads
from unweight.synth.anatomy.labels import Anatomy, centred_affine, on_grid
from unweight.synth.anatomy.ventricles import lateral_ventricles
from unweight.synth.tissue.materials import INDEX


@pytest.fixture(scope="module")
def head() -> Anatomy:
    return on_grid(procedural_heads(0, {"train": 1}).read("train", 0), 1.5)


def test_both_ventricles_and_nothing_but_fluid(head: Anatomy) -> None:
    found = lateral_ventricles(head)
    assert bool((head.labels[found] == INDEX["csf"]).all())
    voxel_ml = 1.5**3 / 1000
    x = torch.arange(head.labels.shape[0]) * 1.5 + float(head.affine[0, 3])
    left, right = (float(found[part].sum()) * voxel_ml for part in (x < 0, x > 0))
    assert 3 < left < 15
    assert 3 < right < 15
    assert abs(left - right) / (left + right) < 0.2


def test_fluid_around_the_brain_is_left_out(head: Anatomy) -> None:
    found = lateral_ventricles(head)
    assert float(found.sum()) < 0.1 * float((head.labels == INDEX["csf"]).sum())
    rows = found.nonzero() * 1.5 + head.affine[:3, 3]
    assert float(rows[:, 0].abs().max()) < 45
    assert float(rows[:, 2].min()) > -25


def test_a_head_without_brain_is_refused() -> None:
    empty = Anatomy(
        labels=torch.zeros(8, 8, 8, dtype=torch.uint8),
        voxel_mm=(1.0, 1.0, 1.0),
        subject="empty",
        affine=centred_affine((8, 8, 8), (1.0, 1.0, 1.0)),
    )
    with pytest.raises(InputError):
        lateral_ventricles(empty)
