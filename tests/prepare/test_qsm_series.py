import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.susceptibility.echoes import TIMES, VOXEL, echoes
from unweight.bids.nifti.grid import Placement
from unweight.bids.read import Series
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, ProtocolError
from unweight.core.protocol import protocol_from_values
from unweight.fit.susceptibility import SusceptibilityFit
from unweight.prepare.qsm_series import (
    BACKGROUNDS,
    INVERSIONS,
    direction_of,
    map_susceptibility,
    settings_of,
)
from unweight.prepare.qsmxt import qsmxt_inversion
from unweight.susceptibility.closed_form import tkd
from unweight.susceptibility.vsharp import vsharp

AFFINE = torch.diag(torch.tensor([*VOXEL, 1.0], dtype=torch.float64))


def series_of(signal: Tensor, mask: Tensor | None, fields: Mapping[str, object] | None = None) -> Series:
    kind = SignalKind.COMPLEX if signal.is_complex() else SignalKind.MAGNITUDE
    acquisition = Acquisition(
        signal=signal,
        protocol=protocol_from_values(echo_time=list(TIMES), field_strength=3.0),
        kind=kind,
        mask=mask,
        affine=AFFINE,
    )
    return Series(
        acquisition=acquisition,
        entities={"sub": "01"},
        suffix="MEGRE",
        files=(Path("a.nii"),),
        sources=("sha256:0",),
        sidecar={} if fields is None else fields,
        notes=("of the files",),
    )


def quick() -> SusceptibilityFit:
    return SusceptibilityFit(inversion=tkd)


def test_images_beside_the_map_say_where_it_comes_from() -> None:
    head = echoes()
    made = map_susceptibility(series_of(head.signal, head.mask), quick())
    beside = {image.key: image for image in made.beside}
    assert list(beside) == ["mask", "total field", "local field", "brain"]
    assert torch.equal(beside["brain"].values, head.mask)
    assert beside["brain"].desc == "Chibrain"
    assert beside["mask"].desc == "Chi"
    known = beside["mask"].values
    chi = made.maps.value("Chi")
    assert torch.equal(known, torch.isfinite(chi))
    assert torch.equal(known, torch.isfinite(beside["local field"].values))
    assert bool(torch.isnan(beside["total field"].values[~head.mask]).all())
    assert bool((known & ~head.mask).any()) is False
    total = beside["total field"].values[head.mask]
    ppm = head.rate[head.mask] / (2 * math.pi * 42.577478518 * 3.0)
    # A line in phase; what the smooth offset leaves differs by a slope that is nearly none.
    assert float((total - ppm).abs().max()) < 0.02
    assert {beside[key].unit for key in ("total field", "local field")} == {"ppm"}


def test_settings_and_notes_are_told() -> None:
    head = echoes()
    fit = SusceptibilityFit(inversion=partial(tkd, threshold=0.3), direction=(0.0, 3.0, 4.0))
    made = map_susceptibility(series_of(head.signal, head.mask), fit)
    assert made.settings["BrainMask"] == "given"
    assert made.settings["B0Direction"] == [0.0, 0.6, 0.8]
    assert made.settings["DipoleInversion"] == {"Name": "tkd", "threshold": 0.3} | {
        name: value for name, value in settings_of(tkd).items() if name not in {"Name", "threshold"}
    }
    assert made.notes[0] == "of the files"


def test_settings_hold_defaults_and_what_was_told() -> None:
    plain = settings_of(vsharp)
    assert plain["Name"] == "vsharp"
    assert plain.keys() == {"Name", "largest_mm", "threshold"}
    assert settings_of(partial(vsharp, largest_mm=12.0)) == plain | {"largest_mm": 12.0}
    told = settings_of(partial(qsmxt_inversion, method="tv"))
    assert told == {"Name": "qsmxt_inversion", "method": "tv"}
    for name, function in {**BACKGROUNDS, **INVERSIONS}.items():
        assert settings_of(function)["Name"], name


def test_brain_is_looked_for_where_no_mask_is_given() -> None:
    head = echoes()
    made = map_susceptibility(series_of(head.signal, None), quick())
    assert made.settings["BrainMask"] == "segmented in the last echo"
    found = next(image.values for image in made.beside if image.key == "brain")
    assert float((found & head.mask).sum() / found.sum()) > 0.99


def test_unmappable_series_are_refused_before_the_brain_is_looked_for() -> None:
    head = echoes()
    with pytest.raises(ProtocolError, match="needs the phase, and these are magnitude volumes"):
        map_susceptibility(series_of(head.signal.abs(), None), quick())
    series = series_of(head.signal, None)
    weak = replace(series.acquisition.protocol, field_strength=None)
    with pytest.raises(ProtocolError, match="needs the field strength"):
        map_susceptibility(replace(series, acquisition=replace(series.acquisition, protocol=weak)), quick())


def test_empty_last_echo_asks_for_a_mask() -> None:
    signal = echoes().signal.clone()
    signal[..., -1] = 0
    with pytest.raises(InputError, match="the last echo contains no signal") as caught:
        map_susceptibility(series_of(signal, None), quick())
    assert "--mask" in str(caught.value)


@pytest.mark.parametrize(
    ("told", "direction"),
    [
        ([0, 0.5, 0.8], (0.0, 0.5, 0.8)),
        ([1, 0, 0], (1.0, 0.0, 0.0)),
        ([0, 0, 2e-3], (0.0, 0.0, 2e-3)),
        (None, None),
    ],
)
def test_direction_is_that_of_the_sidecar_if_it_is_one(
    told: object, direction: tuple[float, float, float] | None
) -> None:
    head = echoes()
    assert direction_of(series_of(head.signal, None, {"B0_dir": told})).direction == direction
    assert direction_of(series_of(head.signal, None, {"B0_dir": told}), (0, 1, 0)).direction == (0, 1, 0)


@pytest.mark.parametrize(
    "told",
    [
        *([0, 0, 0], [0, 1], [0, "1", 0], [True, False, False], "0 0 1", {}, [0, 0, 1e-320], [3e38] * 3),
        *([0, 0, 10**400], [math.inf, 0, 1], [math.nan, 0, 1], [0, 0, 1, 0]),
    ],
)
def test_what_is_no_direction_is_refused_not_passed_over(told: object) -> None:
    with pytest.raises(InputError, match="B0_dir of its sidecar is not a direction"):
        direction_of(series_of(echoes().signal, None, {"B0_dir": told}))


def turned(degrees: float) -> torch.Tensor:
    """Return an affine turned about x; the field then leans towards y."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[1:3, 1:3] = torch.tensor([[cosine, -sine], [sine, cosine]])
    return matrix @ AFFINE


def placed(sform: tuple[float, int] | None, qform: tuple[float, int] | None) -> Series:
    first, second = (None if form is None else turned(form[0]) for form in (sform, qform))
    affine = first if first is not None else second if second is not None else AFFINE
    placement = Placement(
        affine=affine,
        sform=first,
        qform=second,
        sform_code=0 if sform is None else sform[1],
        qform_code=0 if qform is None else qform[1],
    )
    return replace(series_of(echoes().signal, None), placement=placement)


@pytest.mark.parametrize(
    ("sform", "qform", "angle"),
    [
        ((30, 1), (30, 1), 30),
        ((0, 2), (30, 1), 30),
        ((0, 4), (30, 1), 30),
        ((30, 1), (0, 2), 30),
        ((30, 1), None, 30),
        (None, (30, 1), 30),
        ((30.9, 1), (30, 1), 30.9),
    ],
)
def test_direction_is_that_of_the_scanner(
    sform: tuple[float, int] | None, qform: tuple[float, int] | None, angle: float
) -> None:
    found = direction_of(placed(sform, qform))
    expected = (0.0, math.sin(math.radians(angle)), math.cos(math.radians(angle)))
    assert found.direction == pytest.approx(expected, abs=1e-6)
    assert found.notes == ()


def test_a_header_of_programs_that_know_no_scanner_is_taken_with_a_note() -> None:
    for series in (placed((30, 2), None), placed((30, 2), (30, 2))):
        found = direction_of(series)
        assert found.direction == pytest.approx((0.0, 0.5, math.cos(math.radians(30))), abs=1e-6)
        assert "--b0-direction" in found.notes[0]


@pytest.mark.parametrize(
    ("sform", "qform", "why"),
    [
        (None, None, "no matrix of its header maps to scanner coordinates"),
        ((0, 4), None, "no matrix of its header"),
        ((0, 3), (0, 2), "no matrix of its header"),
        (
            (0, 1),
            (1.2, 1),
            "both of code 1, give directions of the static field that differ by 1.2 degrees",
        ),
        (
            (0, 2),
            (30, 2),
            "both of code 2, give directions of the static field that differ by 30.0 degrees",
        ),
    ],
)
def test_a_direction_that_is_not_known_is_asked_for(
    sform: tuple[float, int] | None, qform: tuple[float, int] | None, why: str
) -> None:
    series = placed(sform, qform)
    with pytest.raises(InputError, match=why) as caught:
        direction_of(series)
    assert "--b0-direction" in caught.value.remedy
    assert "B0_dir" in caught.value.remedy
    assert direction_of(replace(series, sidecar={"B0_dir": [0, 0, 1]})).direction == (0, 0, 1)
    assert direction_of(series, (0, 1, 0)).direction == (0, 1, 0)
