import torch

from unweight.metrics.brain_labels import BRAIN_LABELS, brain_labels
from unweight.metrics.structures import BRAIN_CLASSES


def test_every_class_has_labels_and_every_label_its_own_number() -> None:
    assert {label.structure for label in BRAIN_LABELS} == set(BRAIN_CLASSES) - {"background"}
    assert len({label.index for label in BRAIN_LABELS}) == len(BRAIN_LABELS)
    assert len({label.abbreviation for label in BRAIN_LABELS}) == len(BRAIN_LABELS)


def test_numbers_of_nuclei_are_those_of_freesurfer() -> None:
    """Thalamus, caudate, putamen, pallidum and ventricles, left and right, as in its colour table."""
    numbers = {label.name: label.index for label in BRAIN_LABELS}
    known = {"thalamus": (10, 49), "caudate": (11, 50), "putamen": (12, 51), "pallidum": (13, 52)}
    for name, (left, right) in (known | {"lateral_ventricle": (4, 43)}).items():
        assert (numbers[f"left_{name}"], numbers[f"right_{name}"]) == (left, right)


def test_sides() -> None:
    classes = torch.tensor(
        [0, BRAIN_CLASSES.index("csf"), BRAIN_CLASSES.index("putamen")], dtype=torch.uint8
    )
    assert brain_labels(classes, torch.zeros(3, dtype=torch.bool)).tolist() == [0, 24, 12]
    assert brain_labels(classes, torch.ones(3, dtype=torch.bool)).tolist() == [0, 24, 51]
