from dataclasses import replace

import pytest

from tests.learn.lessons import head
from tests.learn.names import DIFFUSOR, FROM_WEIGHTED, MAPS
from unweight.learn.training.model_card import NOT_A_MEDICAL_DEVICE, CardText
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.sample_cache import Heads, SlabData, SlabSource
from unweight.learn.training.trainable import recipe_for, trainable
from unweight.learn.weighted.slabs import WeightedSlabRecipe
from unweight.registry import trained_method


def text_of(recipe: Recipe, train: tuple[str, ...] = ("a", "b")) -> CardText:  # type: ignore[type-arg]
    """Return the text of the card of a training on heads of these names."""
    source = trainable(recipe.method)
    assert isinstance(source, SlabSource)
    heads = Heads(
        train=tuple(replace(head("a"), subject=name) for name in train),
        validation=(replace(head("a"), subject="c"),),
    )
    return trainable(recipe.method).card_text(recipe, SlabData(source=source, heads=heads))


@pytest.fixture(autouse=True)
def few_protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unweight.learn.weighted.protocol_range.N_DRAWS", 20)


def test_every_network_has_a_summary() -> None:
    summaries = {trained_method(name).card for name in FROM_WEIGHTED}
    assert len(summaries) == len(FROM_WEIGHTED) and "" not in summaries


def test_the_training_data_are_told_in_numbers() -> None:
    slabs = WeightedSlabRecipe(shapes=0.2, far=0.25, missing=0.05, snr=(15, 90))
    said = text_of(replace(recipe_for(MAPS, "cpu"), slabs=slabs)).trained_on
    for words in ("20 % are shapes", "in 25 % of heads", "15 to 90", "missing in 5 %", "1.5 and 3 T"):
        assert words in said
    assert "heads with normal tissue" in said
    assert "there are no lesions" in said and "held out for the test" in said
    assert said.endswith(".") and ".." not in said


@pytest.mark.parametrize("method", FROM_WEIGHTED)
def test_the_card_says_what_it_is_for_and_what_it_saw(method: str) -> None:
    text = text_of(recipe_for(method, "cpu"))
    assert text.summary == trained_method(method).card
    for words in (text.intended_use, text.limits):
        assert words.endswith(NOT_A_MEDICAL_DEVICE)
    assert "T1w, T2w and FLAIR" in text.intended_use and "inversion recovery" not in text.intended_use
    assert "relative to CSF" in text.limits
    assert text.trained_on.startswith(
        "5000 simulated slabs of 128 x 128 voxels of 1 mm, from 2 heads (a, b). "
    )
    assert "Validated on 32 other slabs of 1 head (c), intervals calibrated on 400 more" in text.trained_on
    assert text.ranges["field_strength"] == (1.5, 3.0)
    assert "T2w turbo-spin-echo echo_time" in text.ranges and "repetition_time" not in text.ranges


def test_without_calibration_nothing_is_said_of_it() -> None:
    said = text_of(recipe_for(DIFFUSOR, "cpu"), ()).trained_on
    assert "from no head" in said and "intervals calibrated on" not in said and ".." not in said
