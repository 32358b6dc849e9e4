from pathlib import Path

import pytest

from tests.run.untrained import write_untrained
from unweight.benchmark.core.methods import without_weights
from unweight.benchmark.t1.methods import default_method, evaluations_per_slice, t1_methods
from unweight.core.errors import InputError, UsageError
from unweight.learn.t1.diffusor import VELOCITY, DrawnInference
from unweight.learn.t1.network_t1 import NetworkT1
from unweight.registry import compared_names


def test_all_that_there_are_weights_for(tmp_path: Path) -> None:
    assert list(t1_methods(weights=tmp_path)) == ["ml"]
    assert without_weights("t1", tmp_path) == ("posterior", "resnet", "rim", "diffusor")
    write_untrained(tmp_path)
    methods = t1_methods(weights=tmp_path, n_draws=3, n_steps=7)
    assert tuple(methods) == compared_names("t1")
    assert without_weights("t1", tmp_path) == ()
    counts = {name: evaluations_per_slice(one) for name, one in methods.items()}
    assert counts == {"ml": 0, "posterior": 1, "resnet": 1, "rim": 2, "diffusor": 21}


def test_the_card_says_how_often_to_draw(tmp_path: Path) -> None:
    write_untrained(tmp_path, ("t1-diffusor",))
    (drawing,) = t1_methods(["diffusor"], tmp_path).values()
    assert isinstance(drawing, NetworkT1)
    assert drawing.inference == DrawnInference(n_draws=2, n_steps=2, config=VELOCITY)
    with pytest.raises(UsageError, match="at least 2 draws"):
        t1_methods(["diffusor"], tmp_path, n_draws=1)


def test_default_is_the_posterior() -> None:
    assert default_method(compared_names("t1")) == "posterior"
    assert default_method(("rim", "ml")) == "ml"
    assert default_method(("rim",)) == "rim"


def test_messages(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no T1 method called magic\. There are ml, posterior"):
        t1_methods(["ml", "magic"], tmp_path)
    with pytest.raises(
        InputError, match=r"no weights called t1-rim\. Train them with `unweight train t1-rim`"
    ):
        t1_methods(["ml", "rim"], tmp_path)
