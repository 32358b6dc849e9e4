"""A learned estimator in one file and one record: trained, written, loaded, and making maps."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import unweight.registry
from tests.learn.toy_method import RECORD, TIMES, TOY
from unweight.core.acquisition import Acquisition
from unweight.core.protocol import protocol_from_values
from unweight.learn.training.sample_cache import Heads, SlabData
from unweight.learn.training.trainable import recipe_for
from unweight.learn.training.trainer import train_model
from unweight.learn.training.weights import load_weights, save_weights
from unweight.registry import build, method


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a package had added the record."""
    own = unweight.registry.records()
    monkeypatch.setattr(unweight.registry, "records", lambda: replace(own, methods=(*own.methods, RECORD)))


def test_a_toy_is_trained_written_loaded_and_maps(tmp_path: Path) -> None:
    recipe = recipe_for("toy", "cpu")
    data = SlabData(source=TOY, heads=Heads(train=(), validation=()), folder=tmp_path / "training")
    trained = train_model(recipe, data, device=torch.device("cpu"), folder=tmp_path / "training")
    assert trained is not None
    tensors, card = trained
    save_weights(tmp_path, tensors, card)
    data.discard()
    assert load_weights("toy", tmp_path)[1].metrics["rmse_t1"] < 0.3
    t1 = torch.linspace(0.5, 2.0, 12).reshape(4, 3, 1)
    signal = (1 - 2 * torch.exp(-torch.tensor(TIMES) / t1)).abs()
    measured = Acquisition(signal=signal, protocol=protocol_from_values(inversion_time=list(TIMES)))
    maps = build(method("toy", "t1"), tmp_path)(measured)
    assert float((maps.value("T1") - t1[..., 0]).abs().mean()) < 0.3
    assert bool((maps.deviation("T1") == torch.tensor(card.calibration["sd"])).all())
