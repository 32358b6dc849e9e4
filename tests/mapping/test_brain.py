from pathlib import Path

import pytest

from unweight.core.errors import UsageError
from unweight.learn.brain_mask.finder import NetworkBrain
from unweight.learn.training.weights import available
from unweight.mapping.brain import FAMILY, MaskOptions
from unweight.prepare.brain_finder import ClassicalBrain
from unweight.registry import offered


def test_the_classical_method_is_the_default() -> None:
    assert isinstance(MaskOptions().finder(), ClassicalBrain)
    assert set(offered(FAMILY)) == {"classical", "network"}


def test_the_border_reaches_the_network() -> None:
    if "brain-mask" not in available(None):
        pytest.skip("the weights brain-mask are not in the package")
    finder = MaskOptions(mask_method="network", mask_border=2.0).finder()
    assert isinstance(finder, NetworkBrain)
    assert finder.border_mm == 2.0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"mask_method": "magic"}, "magic"),
        ({"mask_border": 2.0}, "--mask-border"),
        ({"mask_method": "network", "mask_border": 50.0}, "border of 50"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        MaskOptions(**options)  # type: ignore[arg-type]  # a wrong name is what is tested


def test_a_border_does_not_go_with_a_mask_that_is_given() -> None:
    options = MaskOptions(mask_method="network", mask_border=1.0)
    with pytest.raises(UsageError, match="exclude"):
        options.check(Path("mask.nii.gz"))
    options.check(None)
