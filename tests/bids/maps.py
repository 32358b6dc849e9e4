"""Made-up maps for the tests of writing."""

import torch

from unweight.core.maps import FAILED, ParameterMaps, VoxelStatus
from unweight.core.parameter import ParameterSpec

AFFINE = torch.tensor([[-1.5, 0, 0, 10], [0, 2, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]], dtype=torch.float64)
SPECS = tuple(
    ParameterSpec(name=name, unit=unit, lower=0.0, upper=10.0, suffix=suffix, description=f"The {name}")
    for name, unit, suffix in (("T1", "s", "T1map"), ("PD", "arbitrary", "PDmap"), ("B", "1", "IEmap"))
)


def made_up_maps(
    *, value: float | None = None, intervals: bool = True, voxels: tuple[int, ...] = (8, 6, 4)
) -> ParameterMaps:
    """Maps with each status somewhere; all values the same, if one is given."""
    generator = torch.Generator().manual_seed(0)
    values = (
        torch.rand(*voxels, len(SPECS), generator=generator)
        if value is None
        else torch.full((*voxels, len(SPECS)), value)
    )
    status = (torch.arange(values[..., 0].numel()) % len(VoxelStatus)).to(torch.uint8).reshape(voxels)
    values[torch.isin(status, torch.tensor(sorted(FAILED)))] = float("nan")
    return ParameterMaps(
        specs=SPECS,
        values=values,
        std=0.1 * values,
        status=status,
        lower=0.9 * values if intervals else None,
        upper=1.1 * values if intervals else None,
        interval_level=0.9 if intervals else None,
        misfit=torch.rand(*voxels, generator=generator),
        noise_sd=3.5,
        affine=AFFINE,
        notes={"Iterations": 12},
    )
