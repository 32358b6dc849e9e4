import pytest

from unweight.learn.training.model_card import NOT_A_MEDICAL_DEVICE
from unweight.learn.training.model_card_text import Seen, card_of, trained_on
from unweight.learn.training.presets import recipe_for
from unweight.learn.training.recipe import FROM_WEIGHTED, MAPS, MAPS_UNET
from unweight.learn.weighted.model_card_text import MAPS_SUMMARIES, maps_trained_on
from unweight.learn.weighted.slabs import WeightedSlabRecipe

SEEN = Seen(train=("a", "b"), validation=("c",), n_train=5000, n_validation=32, n_calibration=400)


def test_every_network_has_a_summary() -> None:
    assert set(MAPS_SUMMARIES) == set(FROM_WEIGHTED)
    assert len(set(MAPS_SUMMARIES.values())) == len(FROM_WEIGHTED)


def test_the_training_data_are_told_in_numbers() -> None:
    said = ". ".join(maps_trained_on(WeightedSlabRecipe(shapes=0.2, far=0.25, missing=0.05, snr=(15, 90))))
    for words in ("20 % are shapes", "in 25 % of heads", "15 to 90", "missing in 5 %", "1.5 and 3 T"):
        assert words in said
    assert "heads with normal tissue" in said
    assert "there are no lesions" in said and "held out for the test" in said
    assert not said.endswith(".")


@pytest.mark.parametrize("method", FROM_WEIGHTED)
def test_the_card_says_what_it_is_for_and_what_it_saw(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unweight.learn.weighted.protocol_range.N_DRAWS", 20)
    recipe = recipe_for(method, "cpu")
    card = card_of(recipe, SEEN, calibration={}, metrics={"psnr_t1": 30.0}, seconds=1.23456)
    assert (card.name, card.preset, card.seconds) == (method, "cpu", 1.235)
    assert card.summary == MAPS_SUMMARIES[method]
    for words in (card.intended_use, card.limits):
        assert words.endswith(NOT_A_MEDICAL_DEVICE)
    assert "T1w, T2w and FLAIR" in card.intended_use and "inversion recovery" not in card.intended_use
    assert "relative to CSF" in card.limits
    assert card.trained_on.startswith(
        "5000 simulated slabs of 128 x 128 voxels of 1 mm, from 2 heads (a, b). "
    )
    assert "Scored on 32 other slabs of 1 head (c), error bars found on 400 more" in card.trained_on
    assert card.ranges["field_strength"] == (1.5, 3.0)
    assert "T2w turbo-spin-echo echo_time" in card.ranges and "repetition_time" not in card.ranges


def test_without_calibration_nothing_is_said_of_it() -> None:
    seen = Seen(train=(), validation=("c",), n_train=4, n_validation=2, n_calibration=0)
    said = trained_on(recipe_for(MAPS_UNET, "cpu"), seen)
    assert "from no head" in said and "error bars found on" not in said and ".." not in said
    assert trained_on(recipe_for(MAPS, "cpu"), seen) == said
