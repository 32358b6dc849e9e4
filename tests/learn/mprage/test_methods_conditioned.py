"""The network that is given flip angle, TR and echo times: what it takes, and what it cannot do without."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.learn.lessons import narrow
from tests.learn.mprage.test_estimator import Repeats, estimator, given, measured
from tests.learn.pairs.brains import SHAPE, pair
from unweight.core.errors import MissingValuesError, UsageError
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.learn.mprage.methods import load_synthesiser
from unweight.learn.pairs.cohort import WIDE
from unweight.learn.pairs.echo_channels import CHI, FLAGS, N_SLAB, Conditions
from unweight.learn.pairs.pair_data import PairData, PairPool, features_of
from unweight.learn.pairs.scan_range import N_FEATURES, SCAN, plain_scan, scan_features
from unweight.learn.training.trainable import new_task, recipe_for
from unweight.learn.training.trainer import train_model
from unweight.learn.training.weights import save_weights
from unweight.synth.protocols.standard import echo_scan, eight_echoes

NAME = "mprage-conditioned"
RECIPE = recipe_for(NAME, "cpu")
TINY = replace(
    RECIPE,
    patch=16,
    network=narrow(RECIPE.network),
    plan=replace(RECIPE.plan, n_steps=3, batch_size=2, warm_up=1, check_every=3, save_every=3),
)
OTHER = plain_scan(echo_scan([0.003, 0.009, 0.015], 0.025, math.radians(5.0)).protocol)


def test_it_is_trained_on_scans_of_many_kinds() -> None:
    assert RECIPE.slabs == WIDE and RECIPE.network.n_values == N_FEATURES
    assert RECIPE.network.unet.condition_features > 0


def test_batches_hold_the_scan_and_whether_there_is_susceptibility() -> None:
    dark = pair("b")
    channels = dark.channels.clone()
    channels[CHI] = 0
    other = replace(dark, channels=channels, about={**dark.about, SCAN: OTHER})
    batch = PairPool((pair("a"), other), 16, 12)(seeded_generator(1))
    assert batch[SCAN].shape == (12, N_FEATURES)
    own = torch.tensor([features_of(pair("a")), features_of(other)])
    flags = batch["channels"][:, N_SLAB - FLAGS :, 0, 0]
    for features, (rate, chi) in zip(batch[SCAN], flags, strict=True):
        place = int((own - features).abs().sum(-1).argmin())
        torch.testing.assert_close(features, own[place])
        assert (float(rate), float(chi)) == (1.0, 1.0 - place)


def test_pairs_that_do_not_tell_their_scan_are_refused() -> None:
    unknown = replace(pair("a"), about={name: x for name, x in pair("a").about.items() if name != SCAN})
    batch = PairPool((unknown,), 16, 2)(seeded_generator(1))
    task = new_task(TINY)
    with pytest.raises(UsageError, match="flip angle, TR or echo times"):
        task.loss(task.network, batch, seeded_generator(2))


def test_an_image_needs_the_scan(tmp_path: Path) -> None:
    data = PairData(train=(pair("a"), pair("b")), validation=(pair("c"),))
    trained = train_model(TINY, data, device=torch.device("cpu"))
    assert trained is not None
    save_weights(tmp_path, *trained)
    ranges = trained[1].ranges
    assert ranges["flip_angle"] == pytest.approx((math.radians(3), math.radians(30)))
    made, _ = load_synthesiser(NAME, tmp_path)
    channels = pair("c").channels.float()
    with pytest.raises(MissingValuesError, match="FlipAngle and RepetitionTime"):
        made(channels)
    first = made(channels, Conditions(scan=scan_features(plain_scan(eight_echoes().protocol))))
    second = made(channels, Conditions(scan=scan_features(OTHER)))
    assert first.mean.shape == SHAPE
    assert float((first.mean - second.mean).abs().max()) > 0  # three steps have moved it


def test_the_estimator_hands_the_scan_on() -> None:
    te = [0.004 * echo for echo in range(1, 9)]
    protocol = protocol_from_values(
        echo_time=te, repetition_time=[0.036] * 8, flip_angle=[math.radians(15.0)] * 8, field_strength=3.0
    )
    made, repeats = estimator(Repeats(), given=given())
    made(measured(protocol=protocol))
    assert repeats.told == [Conditions(scan=scan_features(plain_scan(eight_echoes().protocol)))]
