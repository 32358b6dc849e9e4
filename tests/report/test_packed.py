import base64
import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.report.test_shown_set import set_of
from unweight.core.maps import failed_voxels
from unweight.report.packed import NO_ROOM, STATUS_GAP, pack
from unweight.report.shown_set import ShownSet, show_set


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
