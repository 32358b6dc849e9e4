"""A T1w image of multi-echo gradient echo, as an estimator: echoes in, image with standard deviation out.

The image is made, not measured: what cannot be seen in gradient echoes is what it is in most people it was
trained on. A voxel is AT_LIMIT where decay, level, R2* or χ lie beyond what the network is ever shown, and
every voxel is where the scan itself lies outside the training (`learn.pairs.scan_range`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.bids.nifti.canonical import turn_of
from unweight.core.acquisition import Acquisition
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.estimator import Estimator, Progress
from unweight.core.maps import ParameterMaps, VoxelStatus, assemble_maps
from unweight.core.parameter import ParameterSpec
from unweight.fit.susceptibility import SusceptibilityFit
from unweight.learn.mprage.synthesis import Synthesis, Synthesiser
from unweight.learn.pairs.echo_channels import (
    CHI,
    DECAY_LIMIT,
    DECAYS,
    LEVEL,
    LEVEL_LIMIT,
    MASK,
    OTHER_LIMIT,
    R2STAR,
    Conditions,
)
from unweight.learn.pairs.pair import EchoMaps, maps_of_echoes
from unweight.learn.pairs.scan_range import EchoScanRange

T1W_IMAGE = ParameterSpec(
    name="T1w",
    unit="arbitrary",
    lower=0.0,
    upper=2.0,
    suffix="T1w",
    description="Synthetic T1w (MPRAGE) image from gradient echoes, not measured; white matter is about 1",
    desc="synth",
    zero_filled=True,
)
LIMITS = (*((channel, DECAY_LIMIT) for channel in DECAYS), (LEVEL, LEVEL_LIMIT))
SIZES = (0.7, 1.3)  # of the range of voxel sizes trained for, what is still taken without a word


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class EchoT1w(Estimator[Acquisition]):
    """Makes T1w images by a trained network.

    Attributes:
        synthesise: The network.
        conditions: Which of R2* and χ it gets as input; χ is left out where there is no phase.
        fit: How χ is found.
        given: Maps that are known already, `R2star` [1/s] or `Chi` [ppm].
        voxel_mm: Smallest and largest voxels it was trained on [mm].
        scans: Flip angles, TR, echo times, SNR and field it was trained on.
        any_scan: Whether scans outside of that are taken, with every voxel marked.
    """

    synthesise: Synthesiser
    conditions: Conditions = field(default_factory=Conditions)
    fit: SusceptibilityFit = field(default_factory=SusceptibilityFit)
    given: Mapping[str, Float[Tensor, "x y z"]] = field(default_factory=lambda: MappingProxyType({}))
    voxel_mm: tuple[float, float] = (1.0, 1.5)
    scans: EchoScanRange = field(default_factory=EchoScanRange)
    any_scan: bool = False

    def __post_init__(self) -> None:
        unknown = set(self.given) - {"R2star", "Chi"}
        if unknown:
            raise UsageError(f"no conditions: {', '.join(sorted(unknown))}", remedy="Give R2star or Chi.")

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """The image."""
        return (T1W_IMAGE,)

    def accept(self, measured: Acquisition, /) -> None:
        """Return if these are echoes of a volume, of a scan as the network was trained for.

        Raises:
            MissingValuesError: Flip angle or TR is not known.
            ProtocolError: They are not; the message has the value and the range.
        """
        measured.protocol.require("echo_time", "a T1w image")
        if not self.any_scan:
            self.scans.check(measured)
        if measured.affine is None or len(measured.voxels) != 3:
            raise ProtocolError("echoes of a volume with three axes and an affine are needed")

    def __call__(self, measured: Acquisition, /, progress: Progress | None = None) -> ParameterMaps:
        """Find the brain, R2* and χ, and make the image."""
        self.accept(measured)
        fit = self.fit if self.conditions.chi else None
        prepared = self.prepare(measured, fit)
        return self.make(prepared, measured.affine, progress, outside=self.scans.outside(measured))

    def prepare(self, measured: Acquisition, fit: SusceptibilityFit | None) -> EchoMaps:
        """Return brain, R2* and χ; without a fit χ is left out, unless it is given."""
        if fit is None and "Chi" not in self.given:
            measured = Acquisition(
                signal=measured.signal.abs(),
                protocol=measured.protocol,
                affine=measured.affine,
                mask=measured.mask,
            )
        return maps_of_echoes(measured, fit, self.given)

    def make(
        self,
        maps: EchoMaps,
        affine: Float[Tensor, "4 4"] | None = None,
        progress: Progress | None = None,
        *,
        outside: Sequence[str] = (),
    ) -> ParameterMaps:
        """Make the image of what was prepared, with axes to the right, front and top, and turn it back.

        Args:
            maps: What was prepared.
            affine: Of the echoes.
            progress: Called with the batches done and all of them.
            outside: What of the scan lies outside the training, in sentences; then every voxel is AT_LIMIT.
        """
        channels = maps.channels()
        conditions = Conditions(
            r2star=self.conditions.r2star, chi=self.conditions.chi and maps.chi is not None
        )
        turn = turn_of(torch.eye(4) if affine is None else affine, tuple(maps.mask.shape))
        upright = turn.apply(channels.movedim(0, -1)).movedim(-1, 0)
        result = self.synthesise(upright, conditions, progress)
        synthesis = Synthesis(
            mean=turn.undo(result.mean),
            sd=turn.undo(result.sd),
            draws=tuple(turn.undo(draw) for draw in result.draws),
        )
        inside = channels[MASK] > 0
        status = torch.where(inside, int(VoxelStatus.OK), int(VoxelStatus.MASKED)).to(torch.uint8)
        suspect = inside if outside else inside & _beyond(channels, conditions)
        status[suspect] = int(VoxelStatus.AT_LIMIT)
        notes: dict[str, str | float | int] = {
            "told_r2star": int(conditions.r2star),
            "told_chi": int(conditions.chi),
        }
        if outside:
            notes["outside_training"] = "; ".join(outside)
        return assemble_maps(
            self.parameters,
            synthesis.mean[..., None],
            synthesis.sd[..., None],
            status,
            like=synthesis.mean,
            draws=[draw[..., None] for draw in synthesis.draws] or None,
            affine=affine,
            notes=notes,
        )

    def remarks(self, maps: EchoMaps, outside: Sequence[str] = ()) -> tuple[str, ...]:
        """Return remarks on these echoes for a careful reader.

        Args:
            maps: What was prepared.
            outside: What of the scan lies outside the training, in sentences.
        """
        low, high = self.voxel_mm[0] * SIZES[0], self.voxel_mm[1] * SIZES[1]
        sizes = " x ".join(f"{size:g}" for size in maps.voxel_mm)
        info = [f"outside the supported range, every voxel is flagged: {fault}" for fault in outside]
        info += maps.notes
        if not all(low <= size <= high for size in maps.voxel_mm):
            info.append(
                f"voxels of {sizes} mm; the network was trained with {self.voxel_mm[0]:g} to "
                f"{self.voxel_mm[1]:g} mm, and other sizes reduce the image quality"
            )
        if maps.chi is None and self.conditions.chi:
            info.append("no phase: the image is synthesised without susceptibility")
        return tuple(info)


def _beyond(channels: Float[Tensor, "7 x y z"], conditions: Conditions) -> Tensor:
    limits = list(LIMITS)
    limits += [(R2STAR, OTHER_LIMIT)] * conditions.r2star + [(CHI, OTHER_LIMIT)] * conditions.chi
    beyond = torch.zeros_like(channels[0], dtype=torch.bool)
    for channel, limit in limits:
        beyond |= channels[channel].abs() >= limit
    return beyond
