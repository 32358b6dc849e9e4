import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from torch import nn

from tests.learn.training.test_model_card import CARD
from unweight.core.errors import InputError, UsageError
from unweight.files.atomic import fingerprint
from unweight.learn.training.weights import available, fill, load_weights, save_weights

NAME = "t1-posterior"
TENSORS = {"weight": torch.tensor([[1.0, -2.0, 1 / 3]]), "bias": torch.tensor([0.3]), "n": torch.tensor(7)}


def test_round_trip(tmp_path: Path) -> None:
    path = save_weights(tmp_path / "new", TENSORS, CARD)
    assert path == tmp_path / "new" / f"{NAME}.safetensors"
    tensors, card = load_weights(NAME, tmp_path / "new")
    assert all(torch.equal(tensors[name], one) for name, one in TENSORS.items())
    assert card.stored == "float32"
    assert card.sha256 == fingerprint(path.read_bytes())
    assert card.recipe == CARD.recipe


def test_half_precision_is_said(tmp_path: Path) -> None:
    path = save_weights(tmp_path, TENSORS, CARD, half=True)
    assert load_file(path)["weight"].dtype == torch.float16
    tensors, card = load_weights(NAME, tmp_path)
    assert card.stored == "float16"
    assert tensors["weight"].dtype == torch.float32
    assert tensors["n"].dtype == torch.int64
    # float16 keeps eleven bits.
    torch.testing.assert_close(tensors["weight"], TENSORS["weight"], rtol=2**-11, atol=0)


def test_shared_memory_is_no_matter(tmp_path: Path) -> None:
    one = torch.arange(6.0)
    save_weights(tmp_path, {"a": one, "b": one, "c": one.view(2, 3).T}, CARD)
    tensors, _ = load_weights(NAME, tmp_path)
    assert torch.equal(tensors["c"], one.view(2, 3).T)


def test_what_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="weight has values that are not finite as float16"):
        save_weights(tmp_path, {"weight": torch.tensor([1e5])}, CARD, half=True)
    with pytest.raises(UsageError, match="not finite as float32"):
        save_weights(tmp_path, {"weight": torch.tensor([torch.nan])}, CARD)
    with pytest.raises(UsageError, match="no weights to write"):
        save_weights(tmp_path, {}, CARD)
    assert available(tmp_path) == ()


def test_absent_weights_say_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no weights called t1-posterior. Train them with `unweight train t1-p"
    ):
        load_weights(NAME, tmp_path)
    with pytest.raises(InputError, match="Train them with `unweight train no-such-weights`"):
        load_weights("no-such-weights")
    with pytest.raises(UsageError, match="cannot be called"):
        load_weights("../secret", tmp_path)


@pytest.mark.parametrize("damage", ["bit", "cut", "card", "tensors", "other"])
def test_damage_is_refused(tmp_path: Path, damage: str) -> None:
    path = save_weights(tmp_path, TENSORS, CARD)
    card = path.with_suffix(".json")
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[-1] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-4])
    elif damage == "card":
        card.write_bytes(card.read_bytes()[:50])
    elif damage == "tensors":
        path.write_bytes(b"nothing")
        values = json.loads(card.read_bytes()) | {"sha256": fingerprint(b"nothing")}
        card.write_text(json.dumps(values))
    else:
        card.write_text(card.read_text().replace('"t1-posterior"', '"t2-posterior"'))
    messages = {
        "card": "is not a model card: not JSON",
        "tensors": "contains no tensors",
        "other": "is the card of t2-posterior, not of t1-posterior",
    }
    with pytest.raises(InputError, match=messages.get(damage, "is damaged, or does not match its card")):
        load_weights(NAME, tmp_path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    path = save_weights(tmp_path, TENSORS, CARD)
    content = save({**TENSORS, "bias": torch.full_like(TENSORS["bias"], value)})
    path.write_bytes(content)
    card = path.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_bytes()) | {"sha256": fingerprint(content)}))
    with pytest.raises(InputError, match="has values that are not finite, in bias"):
        load_weights(NAME, tmp_path)


def test_weights_of_another_type_are_refused() -> None:
    whole = {name: TENSORS[name].to(torch.int64) for name in ("weight", "bias")}
    with pytest.raises(InputError, match=r"weight is of torch.int64, not torch.float32"):
        fill(nn.Linear(3, 1), whole)


def test_available_are_those_with_a_card(tmp_path: Path) -> None:
    save_weights(tmp_path, TENSORS, CARD)
    (tmp_path / "alone.safetensors").write_bytes(b"")
    (tmp_path / "alone.json").with_name("other.json").write_bytes(b"{}")
    assert available(tmp_path) == (NAME,)
    assert available(tmp_path / "absent") == ()
    assert isinstance(available(), tuple)


def test_network_is_filled() -> None:
    line = nn.Linear(3, 1)
    fill(line, {"weight": TENSORS["weight"], "bias": TENSORS["bias"]})
    assert torch.equal(line.weight, TENSORS["weight"])


def test_weights_of_another_network_are_refused() -> None:
    message = r"another network: bias is missing, n is unknown, weight is \(1, 3\), not \(1, 2\). Build"
    with pytest.raises(InputError, match=message):
        fill(nn.Linear(2, 1), {"weight": TENSORS["weight"], "n": TENSORS["n"]})
