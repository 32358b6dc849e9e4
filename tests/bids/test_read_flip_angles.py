"""Series whose volumes differ in the flip angle: a BIDS tree, files with given angles, a folder."""

import json
import math
from pathlib import Path

import pytest
import torch

from unweight.bids.raw import write_raw
from unweight.bids.read import read_inputs
from unweight.bids.series.overrides import ProtocolOverrides
from unweight.core.acquisition import Acquisition
from unweight.core.errors import ProtocolError
from unweight.core.protocol import protocol_from_values

ANGLES = (3.0, 8.0, 20.0)


def write_tree(root: Path, angles: tuple[float, ...] = ANGLES) -> Path:
    signal = torch.stack([torch.full((4, 4, 3), 100.0 + angle) for angle in angles], dim=-1)
    protocol = protocol_from_values(
        flip_angle=[math.radians(angle) for angle in angles], repetition_time=[0.02] * len(angles)
    )
    write_raw(
        Acquisition(signal=signal, protocol=protocol, affine=torch.eye(4)),
        root,
        {"sub": "01"},
        suffix="VFA",
    )
    return root


def degrees_of(acquisition: Acquisition) -> list[float]:
    radians = acquisition.protocol.require("flip_angle", "test")
    return [round(math.degrees(value), 6) for value in radians.tolist()]


def test_a_tree_comes_back_by_rising_angle(tmp_path: Path) -> None:
    (series,) = read_inputs([write_tree(tmp_path, (20.0, 3.0, 8.0))], suffixes=("VFA",))
    assert degrees_of(series.acquisition) == [3.0, 8.0, 20.0]
    assert series.acquisition.signal[0, 0, 0].tolist() == [103.0, 108.0, 120.0]
    assert series.suffix == "VFA"


def test_angles_of_the_call_win(tmp_path: Path) -> None:
    files = sorted((write_tree(tmp_path) / "sub-01" / "anat").glob("*.nii.gz"))
    (series,) = read_inputs(files, ProtocolOverrides(flip_angle=(4.0, 9.0, 21.0)))
    assert degrees_of(series.acquisition) == [4.0, 9.0, 21.0]


def test_angles_in_another_order_than_the_sidecars_are_refused(tmp_path: Path) -> None:
    files = sorted((write_tree(tmp_path) / "sub-01" / "anat").glob("*.nii.gz"))
    with pytest.raises(ProtocolError, match="another order"):
        read_inputs(files, ProtocolOverrides(flip_angle=(20.0, 8.0, 3.0)))


def test_a_folder_of_files_is_one_series(tmp_path: Path) -> None:
    anat = write_tree(tmp_path / "tree") / "sub-01" / "anat"
    (series,) = read_inputs([anat])
    assert degrees_of(series.acquisition) == [3.0, 8.0, 20.0]


def test_echo_times_must_agree(tmp_path: Path) -> None:
    anat = write_tree(tmp_path) / "sub-01" / "anat"
    for place, path in enumerate(sorted(anat.glob("*.json"))):
        fields = json.loads(path.read_text())
        path.write_text(json.dumps(fields | {"EchoTime": 0.002 + 0.001 * place}))
    with pytest.raises(ProtocolError, match="flip_angle is"):
        read_inputs([tmp_path], suffixes=("VFA",))
