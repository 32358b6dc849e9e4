from pathlib import Path

import numpy as np
import pytest

from unweight.bids.philips import rescalings
from unweight.bids.sidecar import Sidecar
from unweight.core.errors import InputError

STORED = np.array([0.0, 10.0, 400.0])
# (rescale slope, rescale intercept, scale slope), as they differ from volume to volume
SCALES = [(0.8, 0.0, 0.0034), (1.9, -3.0, 0.0017)]


def sidecar(rs: float, ri: float, ss: float, done: object, **more: float) -> Sidecar:
    fields: dict[str, object] = {
        "PhilipsRescaleSlope": rs,
        "PhilipsRescaleIntercept": ri,
        "PhilipsScaleSlope": ss,
        "UsePhilipsFloatNotDisplayScaling": done,
        **more,
    }
    if done is None:
        fields.pop("UsePhilipsFloatNotDisplayScaling")
    return Sidecar(image=Path("a.nii"), fields=fields)


def floating_point(rs: float, ri: float, ss: float) -> np.ndarray:
    return (STORED * rs + ri) / (rs * ss)


def test_displayed_values_become_floating_point_values() -> None:
    found = rescalings([sidecar(*scales, 0) for scales in SCALES])
    for scales, rescaling in zip(SCALES, found, strict=True):
        displayed = STORED * scales[0] + scales[1]
        np.testing.assert_allclose(displayed * rescaling.factor + rescaling.offset, floating_point(*scales))


def test_real_world_values_become_floating_point_values() -> None:
    world = {"PhilipsRWVSlope": 3.0, "PhilipsRWVIntercept": 5.0}
    found = rescalings([sidecar(*scales, 1, **world) for scales in SCALES])
    for scales, rescaling in zip(SCALES, found, strict=True):
        shown = STORED * 3.0 + 5.0
        np.testing.assert_allclose(shown * rescaling.factor + rescaling.offset, floating_point(*scales))


def test_what_dcm2niix_has_done_is_not_done_again() -> None:
    for rescaling in rescalings([sidecar(*scales, 1) for scales in SCALES]):
        assert (rescaling.factor, rescaling.offset) == (1.0, 0.0)


def test_volumes_scaled_alike_and_other_makes_are_left_alone() -> None:
    alike = [sidecar(*SCALES[0], None)] * 2
    other = [Sidecar(image=Path("a.nii"))] * 3
    assert {(r.factor, r.offset) for r in (*rescalings(alike), *rescalings(other))} == {(1.0, 0.0)}


def test_scalings_that_differ_and_are_not_known_are_refused() -> None:
    with pytest.raises(InputError, match="scaled differently"):
        rescalings([sidecar(*scales, None) for scales in SCALES])
    with pytest.raises(InputError, match="scaled differently"):
        rescalings([sidecar(*SCALES[0], 0), Sidecar(image=Path("b.nii"))])
