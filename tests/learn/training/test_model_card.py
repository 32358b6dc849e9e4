import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unweight.core.errors import InputError, UsageError
from unweight.learn.training.model_card import NOT_A_MEDICAL_DEVICE, Card, card_from_json

CARD = Card(
    name="t1-posterior",
    version=1,
    summary="The posterior of T₁.",
    intended_use="Research.",
    limits="Outside of its ranges.",
    preset="inversion",
    trained_on="Simulated slabs.",
    seed=3,
    recipe={"network": {"widths": [8, 16], "norm": None}, "n_steps": 10, "bfloat16": True},
    ranges={"T1": (0.05, 5.0), "n_inversions": (4.0, 12.0)},
    calibration={"temperature": 1.02},
    metrics={"coverage": 0.68},
    seconds=12.5,
    precision="float32 (as asked for)",
)


def test_round_trip() -> None:
    card = replace(CARD, sha256="0f" * 32, stored="float16")
    assert card_from_json(card.to_json()) == card


def test_an_older_card_notes_no_precision() -> None:
    values = json.loads(CARD.to_json())
    del values["precision"]
    assert card_from_json(json.dumps(values).encode()) == replace(CARD, precision="")


def test_file_is_for_readers() -> None:
    text = CARD.to_json().decode()
    assert "The posterior of T₁." in text
    values = json.loads(text)
    assert values["not_a_medical_device"] == NOT_A_MEDICAL_DEVICE
    assert values["licence"] == "Apache-2.0"
    assert values["ranges"]["T1"] == [0.05, 5.0]


def changed(**values: Any) -> bytes:
    return json.dumps(json.loads(CARD.to_json()) | values).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "not JSON"),
        (b"[]", "not a table"),
        (changed(colour="red", size=1), "unknown colour, size"),
        (b'{"name": "a"}', "missing calibration, intended_use"),
        (changed(name=3), "name is 3"),
        (changed(version=True), "version is True"),
        (changed(version=0), "version is 0"),
        (changed(name="../x"), "cannot be called"),
        (changed(ranges={"T1": [1.0]}), "is not a model card"),
        (changed(ranges={"T1": 1.0}), "is not a model card"),
        (changed(ranges={"T1": [2.0, 1.0]}), "ranges"),
        (changed(metrics={"score": "good"}), "is not a model card"),
        (changed(metrics={"score": None}), "is not a model card"),
        (changed(stored="int4"), "stored is 'int4'"),
        (changed(sha256="abc"), "sha256 is 'abc'"),
    ],
)
def test_other_files_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        card_from_json(content, Path("weights/t1-posterior.json"))
    assert str(caught.value).startswith("weights/t1-posterior.json: is not a model card")


@pytest.mark.parametrize(
    "values",
    [
        {"name": "T1 posterior"},
        {"version": 0},
        {"ranges": {"T1": (0.0, float("inf"))}},
        {"metrics": {"score": float("nan")}},
        {"recipe": {"path": Path("a")}},
        {"calibration": {"factor": float("nan")}},
    ],
)
def test_impossible_card_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot be called" if "name" in values else "Card"):
        replace(CARD, **values)
