import importlib.util

import pytest

from unweight.core.errors import InputError
from unweight.heads.mni152 import read_mni152


def test_average_brain_has_the_volumes_of_one() -> None:
    if importlib.util.find_spec("nilearn") is None:
        pytest.skip("nilearn is not installed")
    anatomy = read_mni152()
    assert anatomy.voxel_mm == pytest.approx((1.0, 1.0, 1.0))
    assert 600 < anatomy.volume_ml("grey_matter") < 1200
    assert 400 < anatomy.volume_ml("white_matter") < 900
    assert 100 < anatomy.volume_ml("csf") < 700


def test_absence_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="comes with nilearn, which is not installed here"):
        read_mni152()
