import hashlib
import pickle
from pathlib import Path

import pytest

from tests.bids.files import AFFINE, ramp, write_bids_series, write_inversion_series, write_nifti
from unweight.bids.read import find_inputs, read_inputs, read_series
from unweight.bids.series.overrides import ProtocolOverrides
from unweight.core.acquisition import SignalKind
from unweight.core.errors import InputError, ProtocolError

TIMES = (0.05, 0.4, 1.1)


def test_a_bids_tree_gives_a_series_for_each_subject_and_session(tmp_path: Path) -> None:
    write_bids_series(tmp_path, "01", session="a")
    write_bids_series(tmp_path, "02")
    first, second = read_inputs([tmp_path])
    assert first.entities == {"sub": "01", "ses": "a"}
    assert first.suffix == "IRT1"
    assert first.root == tmp_path
    assert first.sources[0] == "bids:raw:sub-01/ses-a/anat/sub-01_ses-a_inv-1_IRT1.nii.gz"
    assert first.sidecar == {"RepetitionTimeExcitation": 2.5, "EchoTime": 0.012}
    assert second.acquisition.protocol.as_dict() == {
        "inversion_time": list(TIMES),
        "repetition_time": [2.5] * 3,
        "echo_time": [0.012] * 3,
    }
    assert [series.label for series in find_inputs([tmp_path], subjects=["02"])] == ["sub-02_IRT1"]
    assert read_inputs([tmp_path / "sub-02"])[0].entities == {"sub": "02"}


def test_finding_reads_nothing_and_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    write_bids_series(tmp_path)[0].write_bytes(b"")
    (found,) = find_inputs([tmp_path])
    again = pickle.loads(pickle.dumps(found))  # noqa: S301  # our own bytes
    with pytest.raises(InputError, match="empty"):
        again.read()


def test_one_bad_subject_does_not_touch_the_others(tmp_path: Path) -> None:
    write_bids_series(tmp_path, "01")[1].write_bytes(b"broken")
    write_bids_series(tmp_path, "02")
    bad, good = find_inputs([tmp_path])
    with pytest.raises(InputError, match="not a NIfTI file"):
        bad.read()
    assert good.read().acquisition.protocol.n_volumes == 3


def test_files_of_a_tree_inherit_and_are_named_by_uris(tmp_path: Path) -> None:
    paths = write_bids_series(tmp_path, "01", session="a")
    series = read_series(paths)
    assert series.entities == {"sub": "01", "ses": "a"}
    assert series.acquisition.protocol.as_dict()["repetition_time"] == [2.5] * 3
    assert series.sources[0].startswith("bids:raw:sub-01/")


def test_loose_files_are_named_by_their_content(tmp_path: Path) -> None:
    series = read_series(write_inversion_series(tmp_path, TIMES))
    assert series.entities == {"sub": "01"}
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in series.files]
    assert series.sources == tuple(f"sha256:{digest}" for digest in digests)
    assert series.root is None


def test_a_folder_of_nifti_files(tmp_path: Path) -> None:
    write_inversion_series(tmp_path, TIMES)
    write_nifti(tmp_path / "t1w.nii", ramp(4, 3, 2), {"EchoTime": 0.003})
    write_nifti(tmp_path / "mprage.nii", ramp(9, 3, 2), {"InversionTime": 0.9})
    (series,) = read_inputs([tmp_path])
    assert series.acquisition.protocol.n_volumes == 3
    assert "3 of 5 images form the series" in series.notes[0]
    with pytest.raises(InputError, match="has 9x3x2 voxels, but"):
        read_inputs([tmp_path], ProtocolOverrides(inversion_time=TIMES))


def test_a_mask_in_the_folder_is_no_volume(tmp_path: Path) -> None:
    write_inversion_series(tmp_path, TIMES)
    mask = write_nifti(tmp_path / "mask.nii", ramp(4, 3, 2))
    (series,) = read_inputs([tmp_path], ProtocolOverrides(inversion_time=TIMES, mask=mask))
    assert series.acquisition.protocol.n_volumes == 3
    assert series.acquisition.mask is not None


def test_a_folder_with_two_series_is_refused(tmp_path: Path) -> None:
    write_inversion_series(tmp_path, TIMES)
    write_inversion_series(tmp_path, TIMES, stem="other", shape=(5, 3, 2))
    with pytest.raises(InputError, match="more than one series, on 2 grids"):
        read_inputs([tmp_path])
    for path in tmp_path.glob("other*"):
        path.unlink()
    write_inversion_series(tmp_path, TIMES, stem="repeat")
    with pytest.raises(InputError, match="have the same inversion and echo time"):
        read_inputs([tmp_path])


def test_echoes_without_inversion(tmp_path: Path) -> None:
    for echo, time in enumerate((0.012, 0.004, 0.008), start=1):
        stem = tmp_path / "sub-01" / "anat" / f"sub-01_echo-{echo}_MEGRE.nii.gz"
        write_nifti(stem, echo * ramp(4, 3, 2), {"EchoTime": time, "FlipAngle": 15, "RepetitionTime": 0.03})
    (series,) = read_inputs([tmp_path], suffixes=["MEGRE"])
    assert series.acquisition.protocol.as_dict()["echo_time"] == [0.004, 0.008, 0.012]
    assert series.acquisition.signal[0, 0, 0].tolist() == [2.0, 3.0, 1.0]


def test_single_contrasts(tmp_path: Path) -> None:
    anat = tmp_path / "sub-01" / "anat"
    write_nifti(anat / "sub-01_T1w.nii.gz", ramp(4, 3, 2), {"EchoTime": 0.003, "RepetitionTime": 0.5})
    write_nifti(anat / "sub-01_FLAIR.nii.gz", ramp(4, 3, 2), {"EchoTime": 0.1, "InversionTime": 2.5})
    found = read_inputs([tmp_path], suffixes=["T1w", "FLAIR"])
    assert [series.suffix for series in found] == ["FLAIR", "T1w"]


def test_a_field_that_bids_requires_is_missing(tmp_path: Path) -> None:
    paths = write_bids_series(tmp_path)
    paths[1].with_name("sub-01_inv-2_IRT1.json").unlink()
    with pytest.raises(
        ProtocolError, match="no sidecar gives InversionTime, which IRT1 images need"
    ) as caught:
        read_inputs([tmp_path])
    assert caught.value.path == paths[1]


def test_milliseconds_in_an_inherited_sidecar_name_that_sidecar(tmp_path: Path) -> None:
    write_bids_series(tmp_path)
    (tmp_path / "IRT1.json").write_text('{"EchoTime": 14}')
    with pytest.raises(ProtocolError, match="looks like milliseconds") as caught:
        read_inputs([tmp_path])
    assert caught.value.path == tmp_path / "IRT1.json"


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no input"):
        read_inputs([])
    with pytest.raises(InputError, match="no BIDS dataset, NIfTI or DICOM"):
        read_inputs([tmp_path])
    with pytest.raises(InputError, match="no such file"):
        read_inputs([tmp_path / "absent.nii"])
    write_bids_series(tmp_path)
    with pytest.raises(InputError, match="no MESE series"):
        read_inputs([tmp_path], suffixes=["MESE"])


def test_empty_images_of_a_shared_tree_give_one_clear_error(shared_data) -> None:
    root = shared_data("bids_qmri_cc0") / "qmri_mp2rage"
    paths = sorted((root / "sub-1" / "anat").glob("*part-mag_MP2RAGE.nii"))
    with pytest.raises(InputError, match=r"empty \(0 bytes\)"):
        read_series(paths[:1])


def test_a_shared_dual_echo_series(shared_data, caplog: pytest.LogCaptureFixture) -> None:
    folder = shared_data("fmap_dcm_qa")
    (series,) = read_inputs([folder])
    assert series.acquisition.signal.shape == (64, 64, 36, 2)
    assert series.acquisition.protocol.as_dict()["echo_time"] == [0.00519, 0.00765]
    assert series.acquisition.protocol.field_strength == 3.0
    assert [path.name for path in series.files] == [
        "Si_2_gre_field_magph_e1.nii",
        "Si_2_gre_field_magph_e2.nii",
    ]
    assert "2 of 5 images form the series" in caplog.text
    with pytest.raises(InputError, match="has 64x64x36 voxels, but GE_6"):
        read_series([folder / "GE_6_CV_Neuro_HH_Adv.nii", folder / "Si_2_gre_field_magph_e1.nii"])


def test_a_shared_file_with_a_fourth_axis(shared_data) -> None:
    path = shared_data("mgre_romeo") / "Mag.nii"
    series = read_series([path], ProtocolOverrides(echo_time=(0.004, 0.008, 0.012)))
    assert series.acquisition.signal.shape == (51, 51, 41, 3)
    with pytest.raises(InputError, match="negative values"):
        read_series([path.with_name("Phase.nii")], ProtocolOverrides(echo_time=(0.004, 0.008, 0.012)))
    with pytest.raises(InputError, match="has 128x128x16 voxels"):
        mask = path.parents[1] / "fmap_dcm_qa" / "GE_6_CV_Neuro_HH_Adv.nii"
        read_series([path], ProtocolOverrides(echo_time=(0.004, 0.008, 0.012), mask=mask))


def test_signed_images_by_name(tmp_path: Path) -> None:
    for index, time in enumerate(TIMES, start=1):
        path = tmp_path / "sub-01" / "anat" / f"sub-01_inv-{index}_part-real_IRT1.nii"
        write_nifti(path, ramp(4, 3, 2) - 12, {"InversionTime": time}, affine=AFFINE)
    (series,) = read_inputs([tmp_path])
    assert series.acquisition.kind is SignalKind.SIGNED


def test_a_folder_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        find_inputs([tmp_path])
