"""T1, T2 and PD of each voxel by itself, without any network: the images against the signal equation.

The gain of each image is what makes its median over the brain that of an ordinary brain; then each voxel
has the posterior of `fit.weighted_posterior`. What three images of one voxel cannot tell, neighbours and
anatomy must: this is the baseline that shows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import ProtocolError
from unweight.core.estimator import Estimator, Progress
from unweight.core.examination import WeightedImageSet
from unweight.core.maps import ParameterMaps, VoxelStatus, assemble_maps
from unweight.core.parameter import ParameterSpec
from unweight.learn.training.conformal import GAUSSIAN, LEVEL
from unweight.learn.weighted.estimator import FEWEST_IMAGES, N_AT_ONCE, SPECS, notes_of, without_signal
from unweight.learn.weighted.features import anchors_of, features_of
from unweight.learn.weighted.slabs import rows_of
from unweight.learn.weighted.unknown_timings import (
    UNIFORM_SD,
    reach_of_design,
    reach_of_timings,
    with_uniform,
)
from unweight.signals.parameters import T2

LOWEST_R2 = 1 / T2.upper


@final
@dataclass(frozen=True)
class PhysicsMaps(Estimator[WeightedImageSet]):
    """Maps voxel by voxel; no field of its own."""

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """T1, T2 and relative PD."""
        return SPECS

    def accept(self, measured: WeightedImageSet, /) -> None:
        """Return if there are at least two images, as volumes.

        Raises:
            ProtocolError: There are not.
        """
        if len(measured.images) < FEWEST_IMAGES or len(measured.voxels) != 3:
            raise ProtocolError(
                f"{FEWEST_IMAGES} or more 3D images are required; given: {len(measured.images)} of shape "
                f"{tuple(measured.voxels)}",
                remedy="Give two or three 3D volumes.",
            )

    def __call__(self, measured: WeightedImageSet, /, progress: Progress | None = None) -> ParameterMaps:
        """Make the maps."""
        self.accept(measured)
        design = torch.hypot(reach_of_design(measured, _ln_maps), reach_of_timings(measured, _ln_maps))
        columns = _columns(measured, progress)
        return _maps(measured, columns, design)


def _ln_maps(measured: WeightedImageSet) -> Float[Tensor, "voxels maps"]:
    return _columns(measured, None)["free"][measured.inside]


def _columns(measured: WeightedImageSet, progress: Progress | None) -> dict[str, Tensor]:
    """Return ln T1, ln T2 and ln PD, and their standard deviations, with the maps last."""
    inside = measured.inside
    signals = torch.stack([image.signal for image in measured.images]).float()
    signals = torch.where(inside, signals.nan_to_num(), 0.0)
    anchors = anchors_of(signals, inside, tuple(image.name for image in measured.images))
    rows, present = rows_of(measured).float(), torch.ones(len(signals), dtype=torch.bool)
    parts: dict[str, list[Tensor]] = {name: [] for name in ("free", "sd")}
    done = 0
    for some in torch.split(torch.arange(measured.voxels[2]), N_AT_ONCE):
        planes, known = signals[..., some].movedim(-1, 0), inside[..., some].movedim(-1, 0)
        result = features_of(planes, known, anchors, rows, measured.field_strength, present).posterior
        r2 = result.r2.clamp(min=LOWEST_R2)
        free = torch.stack([result.ln_t1, -r2.log(), result.ln_pd], dim=-1)
        sd = torch.stack([result.ln_t1_sd, result.r2_sd / r2, result.ln_pd_sd], dim=-1)
        parts["free"].append(free.movedim(0, 2))
        parts["sd"].append(sd.movedim(0, 2))
        done += int(known.sum())
        if progress is not None:
            progress(done, int(inside.sum()))
    return {name: torch.cat(part, dim=2) for name, part in parts.items()}


def _maps(
    measured: WeightedImageSet, columns: Mapping[str, Tensor], design: Float[Tensor, " maps"]
) -> ParameterMaps:
    signal, silent = measured.images[0].signal, without_signal(measured)
    inside = measured.inside & ~silent
    status = torch.where(inside, int(VoxelStatus.OK), int(VoxelStatus.MASKED)).to(torch.uint8)
    status[silent] = int(VoxelStatus.NO_SIGNAL)
    free, sd = columns["free"], columns["sd"]
    values, reach = free.exp(), with_uniform(GAUSSIAN * sd, LEVEL * design)
    return assemble_maps(
        SPECS,
        values,
        values * with_uniform(sd, UNIFORM_SD * design),
        status,
        like=signal,
        interval=((free - reach).exp(), (free + reach).exp()),
        interval_level=LEVEL,
        affine=measured.affine,
        notes=notes_of(measured),
    )
