"""Real brains at two flip angles, against the maps of other programs."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor

from unweight.core.acquisition import Acquisition
from unweight.core.maps import ParameterMaps
from unweight.core.protocol import protocol_from_values
from unweight.fit.least_squares import LeastSquaresFit
from unweight.fit.noise_level import noise_from_neighbours
from unweight.signals.exponential_decay import T2_DECAY
from unweight.signals.variable_flip_angle import MPM_25_MS, ImperfectSpoiling, VariableFlipAngle

Shared = Callable[[str], Path]
WHITE_MT, GREY_MT = (1.3, 2.0), (0.5, 0.9)  # magnetisation transfer of tissue [p.u.]


def volume(path: Path) -> Tensor:
    return torch.from_numpy(np.asarray(nib.load(path).dataobj, dtype=np.float64).copy())


def of_mpm(root: Path, spoiling: ImperfectSpoiling | None) -> ParameterMaps:
    """T1 from the first echo of PDw (6°) and T1w (21°), TR 25 ms."""
    signal = torch.stack([volume(root / f"{name}_1.nii.gz") for name in ("pdw", "t1w")], dim=-1)
    mask = volume(root / "mask.nii.gz") > 0
    acquisition = Acquisition(
        signal=signal,
        protocol=protocol_from_values(
            flip_angle=[math.radians(6), math.radians(21)], repetition_time=[0.025, 0.025]
        ),
        mask=mask,
        known={"B1": volume(root / "B1map.nii.gz") / 100},
        noise_sd=noise_from_neighbours(signal, mask),
    )
    return LeastSquaresFit(model=VariableFlipAngle(spoiling=spoiling), rician=False)(acquisition)


@pytest.mark.parametrize(
    ("spoiling", "white", "grey"),
    [(MPM_25_MS, (0.95, 1.05), (0.95, 1.05)), (None, (0.93, 0.96), (0.95, 0.99))],
)
def test_r1_of_white_and_grey_matter_is_that_of_the_hmri_toolbox(
    shared_data: Shared,
    spoiling: ImperfectSpoiling | None,
    white: tuple[float, float],
    grey: tuple[float, float],
) -> None:
    """Its R1map corrects for imperfect spoiling; without, R1 of white matter is 5 to 6 % lower."""
    root = shared_data("mpm_wias")
    maps = of_mpm(root, spoiling)
    theirs, transfer = volume(root / "R1map.nii.gz"), volume(root / "MTmap.nii.gz")
    assert float(maps.failed[volume(root / "mask.nii.gz") > 0].double().mean()) < 0.02
    for ends, allowed in ((WHITE_MT, white), (GREY_MT, grey)):
        tissue = ~maps.failed & (transfer > ends[0]) & (transfer < ends[1])
        assert int(tissue.sum()) > 2000
        ratio = float((1 / maps.value("T1")[tissue]).median() / theirs[tissue].median())
        assert allowed[0] < ratio < allowed[1]


@pytest.mark.parametrize(("name", "quantity"), [("vfa_t1", "T1"), ("mono_t2", "T2")])
def test_values_are_those_of_qmrust(shared_data: Shared, name: str, quantity: str) -> None:
    root = shared_data("mese_vfa_qmrust")
    facts = json.loads((root / f"{name}.json").read_text())
    signal = volume(root / f"{name}.nii.gz")
    known: dict[str, Tensor] = {}
    if quantity == "T1":
        angles = [math.radians(item["FlipAngle"]) for item in facts["volume_ids"]]
        protocol = protocol_from_values(flip_angle=angles, repetition_time=[0.015] * len(angles))
        known["B1"] = volume(root / "vfa_t1_B1map.nii.gz")
    else:
        protocol = protocol_from_values(echo_time=[item["EchoTime"] for item in facts["volume_ids"]])
    fit = LeastSquaresFit(model=VariableFlipAngle() if quantity == "T1" else T2_DECAY, rician=False)
    maps = fit(Acquisition(signal=signal, protocol=protocol, known=known, noise_sd=10.0))
    for probe in facts["probes"]:
        value = float(maps.value(quantity)[probe["x"], probe["y"], 0])
        assert value == pytest.approx(probe["expected"][quantity], rel=0.02)
