import dataclasses
from pathlib import Path

import pytest
import torch

from tests.bids.maps import AFFINE
from tests.bids.validator import validator_errors
from unweight.bids.raw import write_raw
from unweight.bids.read import read_inputs
from unweight.bids.series.overrides import ProtocolOverrides
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import OutputError, UsageError
from unweight.core.protocol import Protocol, protocol_from_values

N = 3
INVERSION = protocol_from_values(
    inversion_time=[0.05, 0.4, 1.1],
    repetition_time=[2.55, 2.55, 3.0],
    echo_time=[0.014] * N,
    flip_angle=[1.1] * N,
    readout_time=[0.19] * N,
    field_strength=3.0,
)
ECHOES = protocol_from_values(echo_time=[0.004, 0.008, 0.012], repetition_time=[0.03] * N)


def made_up(kind: SignalKind, protocol: Protocol) -> Acquisition:
    generator = torch.Generator().manual_seed(0)
    signal = torch.rand(6, 5, 4, protocol.n_volumes, generator=generator)
    if kind is SignalKind.COMPLEX:
        signal = torch.polar(signal, 6.28 * torch.rand(signal.shape, generator=generator) - 3.14)
    elif kind is SignalKind.SIGNED:
        signal = signal - 0.5
    return Acquisition(signal=signal, protocol=protocol, kind=kind, affine=AFFINE)


@pytest.mark.parametrize(
    ("kind", "protocol", "suffix"),
    [
        (SignalKind.MAGNITUDE, INVERSION, "IRT1"),
        (SignalKind.SIGNED, INVERSION, "IRT1"),
        (SignalKind.MAGNITUDE, ECHOES, "MESE"),
        (SignalKind.COMPLEX, ECHOES, "MEGRE"),
    ],
)
def test_an_acquisition_comes_back_and_is_valid(
    tmp_path: Path, kind: SignalKind, protocol: Protocol, suffix: str
) -> None:
    acquisition = made_up(kind, protocol)
    entities = {"sub": "phantom", "ses": "1", "acq": "x"}
    paths = write_raw(acquisition, tmp_path, entities, suffix=suffix)
    assert len(paths) == N * (2 if kind is SignalKind.COMPLEX else 1)
    given = ProtocolOverrides(kind=kind if kind is SignalKind.COMPLEX else None)
    (series,) = read_inputs([tmp_path], given, suffixes=[suffix])
    assert series.entities == entities
    assert series.acquisition.kind is kind
    assert series.acquisition.protocol.as_dict() == protocol.as_dict()
    exact = {} if kind is SignalKind.COMPLEX else {"rtol": 0.0, "atol": 0.0}
    torch.testing.assert_close(series.acquisition.signal, acquisition.signal, **exact)
    torch.testing.assert_close(series.acquisition.affine, acquisition.affine)
    assert validator_errors(tmp_path) == []


def test_single_contrasts(tmp_path: Path) -> None:
    protocol = protocol_from_values(
        inversion_time=[0.9],
        repetition_time=[2.3],
        echo_time=[0.003],
        echo_spacing=[0.007],
        train_length=[176.0],
        centre_index=[80.0],
    )
    acquisition = made_up(SignalKind.MAGNITUDE, protocol)
    write_raw(acquisition, tmp_path, {"sub": "01"}, suffix="T1w")
    (series,) = read_inputs([tmp_path], suffixes=["T1w"])
    assert series.acquisition.protocol.as_dict() == protocol.as_dict()
    assert validator_errors(tmp_path) == []
    with pytest.raises(UsageError, match="3 volumes cannot be written as T1w"):
        write_raw(made_up(SignalKind.MAGNITUDE, INVERSION), tmp_path, {"sub": "01"}, suffix="T1w")
    with pytest.raises(UsageError, match="cannot be written as bold"):
        write_raw(acquisition, tmp_path, {"sub": "01"}, suffix="bold")


def test_several_subjects_share_a_dataset_and_a_foreign_one_is_refused(tmp_path: Path) -> None:
    acquisition = made_up(SignalKind.MAGNITUDE, INVERSION)
    for subject in ("01", "02"):
        write_raw(acquisition, tmp_path, {"sub": subject})
    assert len(read_inputs([tmp_path])) == 2
    again = dataclasses.replace(acquisition, signal=2 * acquisition.signal)
    write_raw(again, tmp_path, {"sub": "01"})
    assert torch.equal(read_inputs([tmp_path])[0].acquisition.signal, again.signal)
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    with pytest.raises(OutputError, match="describes another dataset"):
        write_raw(acquisition, tmp_path, {"sub": "03"})
