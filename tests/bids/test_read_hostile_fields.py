"""Faults that mutated inputs found, each with the message a user reads."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.bids.files import write_inversion_series, write_nifti
from unweight.bids.derivatives.dataset import json_bytes
from unweight.bids.derivatives.provenance import COPIED_NUMBERS, COPIED_WORDS, copied_fields
from unweight.bids.inheritance import entry_beside
from unweight.bids.read import read_inputs, source_of, tree_of
from unweight.bids.series.overrides import ProtocolOverrides
from unweight.bids.sidecar import read_sidecar
from unweight.core.errors import InputError, UsageError
from unweight.susceptibility.phase_offset import bipolar_phase


def test_a_link_that_leads_to_itself_is_said(tmp_path: Path) -> None:
    paths = write_inversion_series(tmp_path, (0.05, 0.4, 1.1))
    mask = write_nifti(tmp_path / "mask.nii", np.ones((4, 3, 2), np.uint8))
    paths[0].unlink()
    paths[0].symlink_to(paths[0])
    with pytest.raises(InputError, match="there is no such file"):
        read_inputs([tmp_path], ProtocolOverrides(mask=mask))


def test_a_name_too_long_for_a_sidecar_has_none(tmp_path: Path) -> None:
    image = write_nifti(tmp_path / ("n" * 251 + ".nii"), np.ones((2, 2, 2), np.float32))
    assert entry_beside(image).sidecar.fields == {}


def test_many_names_and_one_of_them_twice_are_judged_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    pairs = ", ".join(f'"{name}": 1' for name in [*range(200000), "x" * 100, "x" * 100])
    path.write_text(f"{{{pairs}}}")
    with pytest.raises(InputError, match=r"xxx\.\.\. occurs twice") as caught:
        read_sidecar(path)
    assert len(str(caught.value)) < 300


def test_long_values_are_shortened_in_messages(tmp_path: Path) -> None:
    paths = write_inversion_series(tmp_path, (0.05, 0.4), ImageType=["M", "P", "x" * 70000])
    with pytest.raises(InputError, match="several parts") as caught:
        read_inputs(paths)
    assert len(caught.value.problem) < 200


def test_a_time_of_four_hundred_digits_is_no_overflow(tmp_path: Path) -> None:
    paths = write_inversion_series(tmp_path, (0.05, 0.4, 1.1))
    beside = paths[1].with_suffix(".json")
    beside.write_text(json.dumps({"InversionTime": 10**400, "RepetitionTime": 5.0, "EchoTime": 0.01}))
    read_inputs(paths, ProtocolOverrides(inversion_time=(0.05, 0.4, 1.1)))
    with pytest.raises(InputError, match="InversionTime is not finite"):
        read_inputs(paths)


@pytest.mark.parametrize("strength", [0.0, -3.0, 3000.0, float("nan"), float("inf")])
def test_a_field_that_no_scanner_has(strength: float) -> None:
    with pytest.raises(UsageError, match="field strength of"):
        ProtocolOverrides(field_strength=strength)


def test_one_volume_of_nothing_among_others_is_refused(tmp_path: Path) -> None:
    paths = write_inversion_series(tmp_path, (0.05, 0.4, 1.1))
    write_nifti(paths[1], np.zeros((4, 3, 2), np.float32))
    with pytest.raises(InputError, match="one volume is 0 everywhere") as caught:
        read_inputs(paths)
    assert caught.value.path == paths[1]


def test_echoes_without_signal_together_tell_no_polarity() -> None:
    signal = torch.ones((4, 4, 4, 3), dtype=torch.complex64)
    signal[..., 1] = 0
    assert bipolar_phase(signal, torch.tensor([0.004, 0.01, 0.016]), torch.ones(4, 4, 4).bool()) is None


HOSTILE_TEXTS = (
    *("Jane Doe", "Siemens Jane Doe", "/home/jane/scan", "SIEMENS\n", "GE\x1b[31m", "\ud800", "x" * 65, ""),
    *("Prisma of Dr Jane", "19700101", "ID4711", "SE Doe", "_", "siemens\u202e", "Siemens 20240101"),
)


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_no_text_but_known_words_is_copied(text: str) -> None:
    fields = dict.fromkeys((*COPIED_WORDS, "ManufacturersModelName", "SoftwareVersions", "Units"), text)
    copied = copied_fields(fields)
    assert not copied or text == "SIEMENS\n"  # pragma: no branch
    if text == "SIEMENS\n":
        assert not copied


def test_known_words_are_copied() -> None:
    told = {
        "Manufacturer": "GE MEDICAL SYSTEMS",
        "MRAcquisitionType": "3D",
        "PulseSequenceType": "Inversion Recovery Spin Echo",
        "ScanningSequence": "SE\\IR",
        "SequenceVariant": "SK\\SP\\MP",
    }
    assert copied_fields(told) == told


@pytest.mark.parametrize(
    "value", [True, float("nan"), float("inf"), -1.0, 19700101, 10**400, "3", [3], {"a": 3}, None]
)
def test_no_number_that_such_a_field_cannot_hold_is_copied(value: object) -> None:
    fields = dict.fromkeys(COPIED_NUMBERS, value)
    assert copied_fields(fields) == {}


def test_json_holds_what_is_no_character_as_its_escape() -> None:
    assert json.loads(json_bytes({"a": "sub-\udcff"})) == {"a": "sub-\udcff"}


def test_files_that_bids_does_not_name_are_named_by_content(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text("{}")
    for name in ("Doe_Jane.nii", "sub-01/anat/Doe.nii", "sub-01/doe/sub-01_T1w.nii"):
        path = write_nifti(tmp_path / name, np.ones((2, 2, 2), np.float32))
        assert source_of(path, tree_of(path)).startswith("sha256:")
    path = write_nifti(tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii", np.ones((2, 2, 2), np.float32))
    assert source_of(path, tree_of(path)) == "bids:raw:sub-01/anat/sub-01_T1w.nii"
