import json
from pathlib import Path

import pytest
import torch

from unweight.core.errors import InputError, UsageError
from unweight.files.shards import read_shards, write_shards


def samples(count: int, volumes: int = 7) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "signal": torch.rand(4, 4, volumes + index % 2, generator=generator),
            "sigma": torch.tensor(0.01 * index),
        }
        for index in range(count)
    ]


def test_round_trip_with_padding(tmp_path: Path) -> None:
    written = samples(5)
    manifest = write_shards(written, tmp_path / "set", per_shard=2, about={"seed": 3})
    assert json.loads(manifest.read_text())["about"] == {"seed": 3}
    assert len(list((tmp_path / "set").glob("*.safetensors"))) == 3
    read = list(read_shards(tmp_path / "set"))
    assert len(read) == 5
    for one, other in zip(written, read, strict=True):
        volumes = one["signal"].shape[-1]
        assert torch.equal(one["signal"], other["signal"][..., :volumes])
        assert bool(torch.isnan(other["signal"][..., volumes:]).all())
        assert one["sigma"] == other["sigma"]


def test_same_samples_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shards(samples(3), tmp_path / name)
    a, b = (sorted((tmp_path / name).iterdir()) for name in ("a", "b"))
    assert [path.read_bytes() for path in a] == [path.read_bytes() for path in b]


def test_changed_shard_is_refused(tmp_path: Path) -> None:
    write_shards(samples(3), tmp_path)
    shard = next(tmp_path.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="is not the shard the manifest names"):
        list(read_shards(tmp_path))


def test_messages(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not the manifest of a set"):
        list(read_shards(tmp_path))
    with pytest.raises(UsageError, match="no samples"):
        write_shards([], tmp_path)
    write_shards(samples(1), tmp_path)
    with pytest.raises(UsageError, match="already contains a set"):
        write_shards(samples(1), tmp_path)
