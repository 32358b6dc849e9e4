"""Folders of DICOM, whole and damaged, through dcm2niix to the true T1."""

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, generate_uid

from tests.bids.ir_dicom import LONG, REPETITION, SHORT, SIZE, SLICES, TIMES, Scan, write
from unweight.bids.read import Series, read_inputs
from unweight.bids.series.overrides import ProtocolOverrides
from unweight.cli.main import main
from unweight.core.acquisition import SignalKind
from unweight.core.errors import InputError, ProtocolError
from unweight.core.maps import VoxelStatus
from unweight.fit.inversion_recovery import InversionRecoveryFit

WITHIN = 0.02
TENTHS = tuple(0.1 * tenths for tenths in range(10))
BY_HAND = ProtocolOverrides(inversion_time=TIMES, repetition_time=(REPETITION,))


def read(folder: Path, given: ProtocolOverrides | None = None) -> Series:
    (series,) = read_inputs([folder], ProtocolOverrides() if given is None else given)
    return series


def check_t1(series: Series, *, places: tuple[int, ...] = tuple(range(SLICES))) -> None:
    """Check the medians of both halves of the slices against the truth."""
    maps = InversionRecoveryFit()(series.acquisition)
    t1 = maps.value("T1")[:, :, list(places)]
    halves = sorted(float(half.nanmedian()) for half in (t1[: SIZE // 2], t1[SIZE // 2 :]))
    assert halves == pytest.approx([SHORT, LONG], rel=WITHIN)


def test_series_8_to_13_are_ordered_by_number_when_times_are_given(tmp_path: Path) -> None:
    series = read(write(tmp_path, Scan(with_times=False)), BY_HAND)
    check_t1(series)
    (told,) = series.notes
    assert told.startswith(
        "inversion times as given: 0.05 s series-8.nii, 0.15 s series-9.nii, 0.4 s series-10"
    )


def test_folders_do_not_order_series(tmp_path: Path) -> None:
    """The folder of the first series comes last by name."""
    write(tmp_path, Scan(with_times=False))
    (tmp_path / "s008").rename(tmp_path / "z")
    check_t1(read(tmp_path, BY_HAND))


def test_absent_times_are_asked_for_by_the_name_of_the_option(tmp_path: Path) -> None:
    with pytest.raises(
        ProtocolError, match=r"no inversion time.*--ti.*--series N.*series 8 \"ir_50\""
    ) as caught:
        read(write(tmp_path, Scan(with_times=False)))
    assert '20 x 20 x 3, no TI, TE 12 ms; series 9 "ir_150"' in str(caught.value)


def test_times_by_hand_need_an_order(tmp_path: Path) -> None:
    def unnumbered(image: Dataset, volume: int, place: int) -> None:
        image.SeriesNumber, image.AcquisitionTime, image.InstanceNumber = 1, "100000", place + 1

    folder = write(tmp_path, Scan(with_times=False, edit=unnumbered))
    with pytest.raises(ProtocolError, match="times cannot be assigned to volumes"):
        read(folder, BY_HAND)


def test_numbers_choose_series_and_order_times(tmp_path: Path) -> None:
    folder = write(tmp_path, Scan(with_times=False))
    backwards = tuple(range(13, 7, -1))
    series = read(
        folder, ProtocolOverrides(inversion_time=TIMES[::-1], repetition_time=(5.0,), series=backwards)
    )
    check_t1(series)
    five = read(
        folder,
        ProtocolOverrides(inversion_time=TIMES[1:], repetition_time=(5.0,), series=(9, 10, 11, 12, 13)),
    )
    assert five.acquisition.protocol.n_volumes == 5
    check_t1(five)
    with pytest.raises(InputError, match=r"no series 7\. There are: series 8"):
        read(folder, ProtocolOverrides(series=(7, 8)))


def test_times_in_the_element_of_enhanced_files(tmp_path: Path) -> None:
    """Some exports write (0018,9079), padded with the largest double, in classic files of one series."""

    def moved(image: Dataset, volume: int, place: int) -> None:
        del image.InversionTime
        image.add_new(0x00189079, "FD", [1e3 * TIMES[volume], 1.7976931348623157e308])

    series = read(write(tmp_path, Scan(numbers=(301,) * 6, edit=moved)))
    assert series.acquisition.protocol.as_dict()["inversion_time"] == list(TIMES)
    check_t1(series)


def test_one_series_without_times_is_ordered_by_time(tmp_path: Path) -> None:
    check_t1(read(write(tmp_path, Scan(numbers=(301,) * 6, with_times=False)), BY_HAND))


def test_times_that_differ_by_slice(tmp_path: Path) -> None:
    folder = write(tmp_path, Scan(delay=0.04))
    with pytest.raises(ProtocolError, match=r"between slices \(50 to 130 ms.*6 volumes with --ti"):
        read(folder)
    series = read(folder, BY_HAND)
    assert any("only the inversion efficiency is biased" in note for note in series.notes)
    check_t1(series)


def test_slices_shifted_by_another_time_in_each_volume_are_refused(tmp_path: Path) -> None:
    def unsteady(image: Dataset, volume: int, place: int) -> None:
        image.InversionTime = 1e3 * TIMES[volume] + (volume + 1) * 10 * place

    with pytest.raises(ProtocolError, match="differently in each volume"):
        read(write(tmp_path, Scan(edit=unsteady)), BY_HAND)


def test_repeated_volumes_of_one_series_are_all_used(tmp_path: Path) -> None:
    twice = Scan(
        times=[time for time in TIMES for _ in range(2)], numbers=[k for k in range(6) for _ in "ab"]
    )
    folder = write(tmp_path, twice)
    for given in (None, BY_HAND):
        series = read(folder, given)
        assert series.acquisition.protocol.n_volumes == 12
        check_t1(series)


def test_a_repeated_series_is_asked_about(tmp_path: Path) -> None:
    folder = write(tmp_path, Scan(times=(*TIMES, TIMES[2]), numbers=(3, 4, 5, 6, 7, 8, 15)))
    with pytest.raises(InputError, match=r"series-5.nii and series-15.nii have the same.*--series"):
        read(folder)
    check_t1(read(folder, BY_HAND))
    check_t1(read(folder, ProtocolOverrides(series=(3, 4, 5, 6, 7, 8))))


@pytest.mark.parametrize(
    ("numbers", "indices", "shares"),
    [
        ((8,) * 6, (7,), (0.3, 0.999)),
        *(
            pytest.param(
                numbers, tuple(range(18)), tuple(0.1 * k for k in range(10)), marks=pytest.mark.slow
            )
            for numbers in ((8,) * 6, tuple(range(8, 14)))
        ),
    ],
)
def test_damaged_files_are_named(
    tmp_path: Path, numbers: tuple[int, ...], indices: tuple[int, ...], shares: tuple[float, ...]
) -> None:
    """Cut anywhere, empty, or overwritten: the volume is left out, the file is named, T1 stays right."""
    folder = write(tmp_path, Scan(numbers=numbers))
    paths = sorted(folder.rglob("*.dcm"))
    draw = np.random.default_rng(4)
    for index in indices:
        content = paths[index].read_bytes()
        cuts = [content[: int(share * len(content))] for share in shares]
        for damaged in (*cuts, b"", draw.bytes(len(content))):
            paths[index].write_bytes(damaged)
            series = read(folder)
            name = paths[index].relative_to(folder).as_posix()
            assert series.faults[0].startswith(f"1 of 18 files could not be used: {name}, ")
            assert "has 2 of 3 slices and is left out" in series.faults[1]
            assert series.acquisition.protocol.n_volumes == 5
            check_t1(series)
        paths[index].write_bytes(content)
    assert read(folder).faults == ()


def test_a_damaged_file_of_one_series_without_times_is_refused(tmp_path: Path) -> None:
    """Which volume lacks the slice cannot be known."""
    folder = write(tmp_path, Scan(numbers=(8,) * 6, with_times=False))
    (folder / "s008" / "007.dcm").write_bytes(b"")
    with pytest.raises(InputError, match=r"007\.dcm, it is empty"):
        read(folder, BY_HAND)


def test_lost_links_and_slices_are_said(tmp_path: Path) -> None:
    folder = write(tmp_path, Scan())
    (folder / "s011" / "001.dcm").unlink()
    series = read(folder)
    assert series.faults == ('series 11 "ir_800" (TI 800 ms, TE 12 ms) has 2 of 3 slices and is left out',)
    check_t1(series)
    (folder / "s011" / "001.dcm").symlink_to(tmp_path / "nothing")
    assert "1 of 18 files could not be used: s011/001.dcm, it is a broken link" in read(folder).faults[0]


def test_what_lies_beside_images_is_no_fault(tmp_path: Path) -> None:
    folder = write(tmp_path, Scan())
    shutil.copytree(folder / "s008", folder / "export2")
    for name in ("._000.dcm", ".DS_Store", "LOCKFILE", "notes.txt", "README", "viewer.exe"):
        (folder / name).write_bytes(b"\0\5\x16\7" * 50)
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(200))
    series = read(folder)
    assert series.faults == ()
    assert series.notes == ("3 files are copies of others; each is used once",)
    check_t1(series)


def test_a_copy_with_other_pixels_is_a_fault(tmp_path: Path) -> None:
    folder = write(tmp_path, Scan())
    image = pydicom.dcmread(folder / "s008" / "000.dcm")
    image.PixelData = bytes(len(image.PixelData))
    image.save_as(folder / "s013" / "copy.dcm")
    assert "s013/copy.dcm, another file has the same UID and different pixels" in read(folder).faults[0]


def test_maps_of_the_scanner_are_left_aside(tmp_path: Path) -> None:
    def derived(image: Dataset, volume: int, place: int) -> None:
        if volume == len(TIMES):
            image.ImageType = ["DERIVED", "PRIMARY", "M", "T1 MAP"]

    folder = write(tmp_path, Scan(times=(*TIMES, 0.05), numbers=(3, 4, 5, 6, 7, 8, 50), edit=derived))
    series = read(folder)
    assert series.notes == ("series-50.nii: derived from other images, ignored",)
    check_t1(series)


def test_images_on_another_grid_are_left_aside_when_times_are_given(tmp_path: Path) -> None:
    def scout(image: Dataset, volume: int, place: int) -> None:
        if volume == 0:
            image.PixelSpacing = [4.0, 4.0]

    folder = write(
        tmp_path, Scan(times=(0.3, *TIMES), numbers=(1, 8, 9, 10, 11, 12, 13), with_times=False, edit=scout)
    )
    series = read(folder, BY_HAND)
    assert series.notes[0] == "series-1.nii: on another grid, ignored"
    check_t1(series)


def test_random_pixels_have_no_value_and_are_said(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)

    def random(image: Dataset, volume: int, place: int) -> None:
        if (volume, place) == (3, 1):
            image.PixelData = draw.integers(0, 4096, SIZE * SIZE).astype("<u2").tobytes()

    series = read(write(tmp_path, Scan(edit=random)))
    (fault,) = series.faults
    assert "noise where the other volumes contain an image, in slice 2 of series-11.nii" in fault
    status = InversionRecoveryFit()(series.acquisition).status
    assert not bool((status[:, :, 1] == VoxelStatus.OK).any())
    check_t1(series, places=(0, 2))


@pytest.mark.parametrize("syntax", [RLELossless, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_transfer_syntaxes(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    folder = write(tmp_path, Scan(numbers=(8,) * 6))
    for path in folder.rglob("*.dcm"):
        image = pydicom.dcmread(path)
        if syntax == RLELossless:
            image.compress(syntax, generate_instance_uid=False)
        elif syntax == ExplicitVRBigEndian:
            image.PixelData = np.frombuffer(image.PixelData, "<u2").astype(">u2").tobytes()
        image.file_meta.TransferSyntaxUID = syntax
        _save(image, path, big=syntax == ExplicitVRBigEndian)
    check_t1(read(folder))
    if syntax == RLELossless:
        path = folder / "s008" / "004.dcm"
        content = bytearray(path.read_bytes())
        content[-300:-100] = np.random.default_rng(6).bytes(200)
        path.write_bytes(content)
        series = read(folder)
        assert "004.dcm" in series.faults[0]
        check_t1(series)


def _save(image: Dataset, path: Path, *, big: bool) -> None:
    if big:
        pydicom.dcmwrite(path, image, implicit_vr=False, little_endian=False, force_encoding=True)
    else:
        image.save_as(path)


def test_complex_images_that_lack_a_slice_are_refused(tmp_path: Path) -> None:
    def echoes(image: Dataset, volume: int, place: int) -> None:
        del image.InversionTime
        image.ScanningSequence, image.SeriesNumber = "GR", 9 + volume // 3
        image.ImageType = ["ORIGINAL", "PRIMARY", "MP"[volume // 3], "ND"]
        image.EchoTime, image.EchoNumbers = 5.0 * (volume % 3 + 1), volume % 3 + 1

    folder = write(tmp_path, Scan(numbers=(9, 9, 9, 10, 10, 10), edit=echoes))
    (folder / "s010" / "004.dcm").unlink()
    with pytest.raises(InputError, match=r"series 10.*has 2 of 3 slices"):
        read(folder, ProtocolOverrides(kind=SignalKind.COMPLEX))
    assert read(folder, ProtocolOverrides(kind=SignalKind.MAGNITUDE)).acquisition.protocol.n_volumes == 3


def test_commands_and_validate_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "dicom", Scan())
    (folder / "s010" / "002.dcm").write_bytes(b"")
    out = tmp_path / "out"
    assert main(["t1", str(folder), "-o", str(out), "--method", "ml", "--no-figures", "--no-report"]) == 1
    mapped = capsys.readouterr().err
    assert main(["validate", str(folder)]) == 1
    for said in (mapped, capsys.readouterr().err):
        assert "1 of 18 files could not be used: s010/002.dcm, it is empty" in said
    assert (out / "sub-01" / "anat" / "sub-01_T1map.nii.gz").is_file()


def test_ranges_of_numbers_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "dicom", Scan(with_times=False))
    times = [f"{time:g}" for time in TIMES]
    assert main(["validate", str(folder), "--series", "8-11", "12", "13", "--ti", *times, "--tr", "5"]) == 0
    assert "0.05 s series-8.nii" in capsys.readouterr().out
    nifti = tmp_path / "a.nii"
    assert main(["validate", str(nifti), "--series", "8"]) == 2
    assert "--series is for DICOM folders" in capsys.readouterr().err


def test_times_given_once_each_are_taken_for_volumes_that_repeat_them(tmp_path: Path) -> None:
    """Times of the headers say which volumes repeat one; times in another order are refused."""
    folder = write(tmp_path, Scan(times=(*TIMES, TIMES[2]), numbers=(3, 4, 5, 6, 7, 8, 15)))
    series = read(folder, BY_HAND)
    assert torch.tensor(series.acquisition.protocol.as_dict()["inversion_time"]).unique().tolist() == (
        pytest.approx(list(TIMES))
    )
    with pytest.raises(ProtocolError, match="not in the order"):
        read(folder, ProtocolOverrides(inversion_time=(*TIMES[:3], TIMES[2], *TIMES[3:])))


def test_uid_of_an_instance_that_all_files_share_is_no_copy(tmp_path: Path) -> None:
    uid = generate_uid()

    def anonymous(image: Dataset, volume: int, place: int) -> None:
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid

    check_t1(read(write(tmp_path, Scan(edit=anonymous))))
