"""Derivatives of one subject, small and whole, for pages about them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.write import write_maps
from unweight.core.maps import PHASE_RESIDUAL, RMS_OF_LOG, ParameterMaps, VoxelStatus
from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import protocol_from_values
from unweight.learn.mprage.estimator import T1W_IMAGE
from unweight.signals.parameters import CHI, PD, R2STAR, T1, T2, B

SHAPE = (20, 24, 22)
EVIL = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>"


def maps_of(specs: tuple[ParameterSpec, ...], **fields: object) -> ParameterMaps:
    """Return maps of a ball in an oblique volume, stored back to front, no two voxels alike."""
    axes = [torch.linspace(-1, 1, size) for size in SHAPE]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    inside = x.square() + y.square() + z.square() < 0.7
    numbers = torch.arange(inside.numel()).reshape(SHAPE) / inside.numel()
    values = torch.stack([level_of(spec) * (0.5 + numbers) for spec in specs], dim=-1)
    status = torch.full(SHAPE, int(VoxelStatus.MASKED), dtype=torch.uint8)
    status[inside] = int(VoxelStatus.OK)
    status[9, 11, 8:12] = int(VoxelStatus.IMPLAUSIBLE)
    status[11, 11, 8:12] = int(VoxelStatus.NOT_CONVERGED)
    values[(status == int(VoxelStatus.MASKED)) | (status == int(VoxelStatus.NOT_CONVERGED))] = torch.nan
    affine = torch.tensor(
        [[-1.99, 0.0, 0.2, 30.0], [0.2, 0.0, 1.99, -25.0], [0.0, -2.0, 0.0, 40.0], [0.0, 0.0, 0.0, 1.0]],
        dtype=torch.float64,
    )
    made = ParameterMaps(
        specs=specs,
        values=values,
        std=0.05 * values.abs(),
        status=status,
        misfit=1.0 + numbers,
        affine=affine,
        interval_level=None,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def level_of(spec: ParameterSpec) -> float:
    """Return a usual value of a map."""
    return {"T1": 1.2, "T2": 0.08, "PD": 900.0, "B": 1.8, "R2star": 25.0, "Chi": 0.05, "T1w": 0.8}[
        spec.name
    ]


def provenance(**fields: object) -> Provenance:
    """Return a provenance with whatever could harm a page."""
    plain = Provenance(
        sources=("bids:raw:sub-01/anat/sub-01_x.nii.gz",),
        algorithm="Closed form",
        reference=f"Nobody, {EVIL}",
        settings={
            "Method": EVIL,
            "Weights": {"Name": "t1", "TrainedOn": "1600 simulated slabs", "SHA256": "00ff"},
        },
        notes=(f"a remark {EVIL}",),
        acquired={"MagneticFieldStrength": 3.0},
    )
    return replace(plain, **fields)  # type: ignore[arg-type]


@pytest.fixture
def derivatives(tmp_path: Path) -> Path:
    """Write all kinds of sets of one subject."""
    times = protocol_from_values(
        inversion_time=(0.05, 0.5, 2.5), repetition_time=(10.0,) * 3, field_strength=3.0
    )
    write_maps(maps_of((T1, PD, B)), tmp_path, {"sub": "01", "acq": "ir"}, provenance(protocol=times))
    routine = maps_of((T1, T2, PD), misfit_meaning=RMS_OF_LOG)
    images = {"T1w": {"Readout": "spin-echo", "RepetitionTime": 0.6, "EchoTime": 0.01}}
    write_maps(
        routine, tmp_path, {"sub": "01"}, provenance(settings={"Method": "embedding", "Images": images})
    )
    write_maps(maps_of((R2STAR,)), tmp_path, {"sub": "01"}, provenance(settings={}))
    write_maps(
        maps_of((CHI,), misfit_meaning=PHASE_RESIDUAL), tmp_path, {"sub": "01"}, provenance(settings={})
    )
    write_maps(maps_of((T1W_IMAGE,), misfit=None), tmp_path, {"sub": "01"}, provenance())
    write_maps(maps_of((T2,)), tmp_path, {"sub": "01", "ses": "b", "run": "2"}, provenance(settings={}))
    return tmp_path
