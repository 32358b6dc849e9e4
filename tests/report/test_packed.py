import base64
import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.report.conftest import maps_of, provenance
from tests.report.test_shown_set import set_of
from unweight.bids.derivatives.write import write_maps
from unweight.core.maps import failed_voxels
from unweight.report.packed import NO_ROOM, STATUS_GAP, pack
from unweight.report.shown_set import ShownSet, show_set
from unweight.signals.parameters import T1


@pytest.fixture
def shown(derivatives: Path) -> ShownSet:
    return show_set(set_of(derivatives, "T1map", acq="ir"))


def volume(text: object) -> nib.Nifti1Image:
    assert isinstance(text, str)
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def test_volumes_hold_the_maps_to_a_step(shown: ShownSet) -> None:
    (packed,) = pack([shown], 10**9)
    content = packed[0].content
    assert content is not None
    assert packed[0].remark == ""
    image = volume(content["value"]["volume"])  # type: ignore[index]
    kept = ~failed_voxels(shown.status).numpy()
    values = shown.maps[0].value.values.numpy()
    np.testing.assert_allclose(image.get_fdata()[kept], values[kept], atol=0.000501)
    np.testing.assert_allclose(image.affine, shown.affine.numpy(), atol=1e-5)
    status = volume(content["status"]).get_fdata() / STATUS_GAP
    np.testing.assert_array_equal(status, shown.status.numpy())
    assert packed[0].size == sum(len(content[part]["volume"]) for part in ("value", "sd", "misfit")) + len(  # type: ignore[index]
        content["status"]  # type: ignore[arg-type]
    )


def test_too_little_room_costs_later_maps_first_and_is_said(shown: ShownSet) -> None:
    (whole,) = pack([shown], 10**9)
    room = sum(one.size for one in whole) - 1
    (less,) = pack([shown], room)
    assert less[0].remark == ""
    assert any(one.remark for one in less[1:])
    assert sum(one.size for one in less) <= room


def test_sparse_volumes_keep_their_place(shown: ShownSet) -> None:
    (whole,) = pack([shown], 10**9)
    (tight,) = pack([shown], sum(one.size for one in whole) // 3)
    sparse = [
        one for one in tight if "voxels along each axis is shown" in one.remark and one.content is not None
    ]
    assert sparse
    image = volume(sparse[0].content["status"])  # type: ignore[index]
    every = round(image.affine[2, 2] / float(shown.affine[2, 2]))
    assert every > 1
    np.testing.assert_array_equal(
        image.get_fdata() / STATUS_GAP, shown.status.numpy()[::every, ::every, ::every]
    )
    np.testing.assert_allclose(image.affine[:3, 3], shown.affine[:3, 3].numpy(), atol=1e-5)


def test_no_room_at_all(shown: ShownSet) -> None:
    (packed,) = pack([shown], 10)
    assert [one.content for one in packed] == [None] * 3
    assert {one.remark for one in packed} == {NO_ROOM}


def test_nothing_to_pack() -> None:
    assert pack([], 10) == ()


def test_ends_of_intervals_are_added_only_where_there_is_room(tmp_path: Path) -> None:
    plain = maps_of((T1,))
    ends = {"lower": 0.9 * plain.values, "upper": 1.1 * plain.values, "interval_level": 0.9}
    write_maps(maps_of((T1,), **ends), tmp_path, {"sub": "01", "acq": "int"}, provenance())
    shown = show_set(set_of(tmp_path, "T1map", acq="int"))
    interval = shown.maps[0].interval
    assert interval is not None and interval.title == "90 % interval"
    torch.testing.assert_close(interval.upper, 1.1 * shown.maps[0].value.values, equal_nan=True)
    ((whole,),) = pack([shown], 10**9)
    assert whole.content is not None
    held = whole.content["interval"]
    assert isinstance(held, dict)
    wanted = interval.lower.nan_to_num(0.0).numpy()
    np.testing.assert_allclose(volume(held["lower"]).get_fdata(), wanted, atol=0.000501)
    ((less,),) = pack([shown], whole.size - 1)
    assert less.content is not None and "interval" not in less.content and less.remark == ""
