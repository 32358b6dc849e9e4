"""T1, T2 and PD maps of an examination: slice by slice through a network, with intervals and a check.

Of the images re-synthesised from the maps, with one free gain per image and slice and the receive
sensitivity taken out, what is left over says where the three images contradict the maps: such voxels are
`implausible`. PD is relative: CSF has 1.

Trains of low refocusing angles, whose design is not in the header, add to the intervals
(`unknown_timings`), unless the training contained such trains.

A signal of a turbo spin echo depends on TR and the end of the train by their difference alone. Trains
longer than those of the training are therefore presented to the network with both reduced alike, as far as
the trained range of TR goes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unweight.core.errors import ProtocolError
from unweight.core.estimator import Estimator, Progress
from unweight.core.examination import WeightedImage, WeightedImageSet
from unweight.core.maps import RMS_OF_LOG, ParameterMaps, VoxelStatus, assemble_maps
from unweight.core.parameter import ParameterSpec, Scale
from unweight.core.weighting import Readout, completed
from unweight.learn.training.conformal import LEVEL, Conformal
from unweight.learn.weighted.features import NAMES, anchors_of, features_of
from unweight.learn.weighted.protocol_range import WeightingRange
from unweight.learn.weighted.slabs import rows_of
from unweight.learn.weighted.task import N_MAPS, InputAdapter, answer_maps, unexplained
from unweight.learn.weighted.unknown_timings import (
    UNIFORM_SD,
    reach_of_design,
    reach_of_timings,
    with_uniform,
)
from unweight.signals.parameters import T1, T2

RELATIVE_PD = ParameterSpec(
    name="PD",
    unit="1",
    lower=0.0,
    upper=2.0,
    suffix="PDmap",
    scale=Scale.LINEAR,
    description="Proton density relative to cerebrospinal fluid, which is 1",
)
SPECS = (T1, T2, RELATIVE_PD)
N_AT_ONCE = 8
LONGEST_TRAIN, LONGEST_LOW_ANGLES = 0.31, 1.3  # [s] of the training
FEWEST_IMAGES = 2
IMPLAUSIBLE = 0.35  # of the logarithm of an image
TOO_DARK = -1.2  # an image so far below an ordinary brain has no information in a voxel


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedMaps(Estimator[WeightedImageSet]):
    """Maps by a network of `learn.weighted.task`.

    Attributes:
        network: Trained, in `eval` mode.
        adapter: What it gets of a batch.
        weightings: What it was trained for.
        intervals: Half-widths of ln T1, ln T2 and ln PD.
        name: For messages.
    """

    network: nn.Module
    adapter: InputAdapter
    weightings: WeightingRange
    intervals: tuple[Conformal, Conformal, Conformal]
    name: str = "maps"

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """T1, T2 and relative PD."""
        return SPECS

    def accept(self, measured: WeightedImageSet, /) -> None:
        """Return if the examination is one of those trained for.

        Raises:
            ProtocolError: It has too few images, one twice, or timings that were not trained.
        """
        names = [image.name for image in measured.images]
        if len(set(names)) < max(FEWEST_IMAGES, len(names)) or not set(names) <= set(NAMES):
            raise ProtocolError(
                f"{self.name} needs two or three of {', '.join(NAMES)}, each once, not {', '.join(names)}",
                remedy="Give one image of each contrast.",
            )
        if len(measured.voxels) != 3:
            raise ProtocolError(
                f"images of {len(measured.voxels)} axes", remedy="Give volumes of three axes."
            )
        self.weightings.check(measured, self.name)

    def __call__(self, measured: WeightedImageSet, /, progress: Progress | None = None) -> ParameterMaps:
        """Make the maps, axial slice by axial slice (across the third axis)."""
        self.accept(measured)
        inside = measured.inside
        columns = {
            name: torch.full((*measured.voxels, N_MAPS), torch.nan).to(measured.images[0].signal)
            for name in ("free", "reach", "sd")
        }
        design = self._reach_of_design(measured)
        left = torch.full(measured.voxels, torch.nan).to(columns["free"])
        layers = inside.flatten(0, 1).any(0).nonzero()[:, 0]
        done = 0
        for some, batch in self._batches(measured, layers):
            with torch.no_grad():
                free, sd = answer_maps(self.adapter(self.network, batch))
                over, counts = unexplained(free, batch | {"target": free}, dark=TOO_DARK)
            here = inside[:, :, some]
            reach = torch.stack(
                [sd[:, i] * interval.half_width(free[:, i]) for i, interval in enumerate(self.intervals)],
                dim=1,
            )
            for name, part, other in (
                ("free", free, torch.zeros(N_MAPS)),
                ("reach", reach, LEVEL * design),
                ("sd", sd, UNIFORM_SD * design),
            ):
                laid = with_uniform(part.permute(2, 3, 0, 1), other).to(columns[name])
                columns[name][:, :, some] = laid.masked_fill(~here[..., None], torch.nan)
            mean = (over.square().sum(1) / counts.sum(1).clamp(min=1)).sqrt().permute(1, 2, 0)
            left[:, :, some] = mean.to(left).masked_fill(~here, torch.nan)
            done += int(here.sum())
            if progress is not None:
                progress(done, int(inside.sum()))
        return _maps(measured, inside, columns, left)

    def _presented(self, measured: WeightedImageSet) -> WeightedImageSet:
        """Return the examination with long trains and their TR shortened alike, which changes no signal."""
        return replace(measured, images=tuple(self._shortened(image) for image in measured.images))

    def _shortened(self, image: WeightedImage) -> WeightedImage:
        full = completed(image.weighting)[0]
        end, cycle = full.time("readout_time"), full.time("repetition_time")
        if full.readout is not Readout.TURBO_SPIN_ECHO or end is None or cycle is None:
            return image
        shortest, _ = self.weightings.ends_of(image.name, full, "repetition_time")
        longest = LONGEST_LOW_ANGLES if self.weightings.has_low_angles(image.name, full) else LONGEST_TRAIN
        away = min(end - longest, cycle - shortest)
        if not away > 0:
            return image
        protocol = replace(
            full.protocol,
            repetition_time=torch.tensor([cycle - away], dtype=torch.float64),
            readout_time=torch.tensor([end - away], dtype=torch.float64),
        )
        return replace(image, weighting=replace(full, protocol=protocol))

    def _reach_of_design(self, measured: WeightedImageSet) -> Float[Tensor, " maps"]:
        """Return what unknown designs of trains, not contained in the training, and times add."""
        timings = reach_of_timings(measured, self._free_values)
        if all(self.weightings.knows_design(image.name, image.weighting) for image in measured.images):
            return timings
        return torch.hypot(timings, reach_of_design(measured, self._free_values))

    def _free_values(self, measured: WeightedImageSet) -> Float[Tensor, "voxels maps"]:
        """Return the logarithms of the maps inside."""
        parts = []
        inside = measured.inside
        for some, batch in self._batches(measured, torch.arange(inside.shape[2])):
            with torch.no_grad():
                free, _ = answer_maps(self.adapter(self.network, batch))
            parts.append(free.permute(2, 3, 0, 1).cpu()[inside[:, :, some].cpu()])
        return torch.cat(parts)

    def _batches(
        self, measured: WeightedImageSet, layers: Tensor
    ) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Give the input of the network for a few slices at a time, the images in the order of NAMES."""
        device = next(self.network.parameters()).device
        by_name = {image.name: image for image in measured.images}
        present = torch.tensor([name in by_name for name in NAMES])
        first = measured.images[0].signal
        inside = measured.inside
        signals = torch.stack(
            [
                by_name[name].signal.to(first) if name in by_name else torch.zeros_like(first)
                for name in NAMES
            ]
        ).float()
        signals = torch.where(inside, signals.nan_to_num(), 0.0)
        given = anchors_of(signals[present], inside, tuple(name for name in NAMES if name in by_name))
        anchors = replace(
            given,
            median=torch.ones(len(NAMES)).masked_scatter(present, given.median.cpu()),
            bright=torch.ones(len(NAMES)).masked_scatter(present, given.bright.cpu()),
            levels=torch.zeros(len(NAMES), given.levels.shape[1]).masked_scatter(
                present[:, None], given.levels.cpu()
            ),
        )
        rows = torch.full((len(NAMES), rows_of(measured).shape[1]), torch.nan, dtype=torch.float64)
        known = replace(measured, images=tuple(by_name[name] for name in NAMES if name in by_name))
        rows[present] = rows_of(self._presented(known))
        for some in torch.split(layers, N_AT_ONCE):
            planes = signals[..., some].movedim(-1, 0).to(device)
            visited = inside[:, :, some].movedim(-1, 0).to(device)
            features = features_of(
                planes,
                visited,
                anchors,
                rows.float().to(device),
                measured.field_strength,
                present.to(device),
            )
            count = len(some)
            yield (
                some,
                {
                    "images": features.images,
                    "physics": features.physics,
                    "rows": rows.float().to(device).expand(count, -1, -1),
                    "levels": anchors.levels.to(device).expand(count, -1, -1),
                    "present": present.to(device).float().expand(count, -1),
                    "field": torch.full((count, 1), measured.field_strength, device=device),
                },
            )


def notes_of(measured: WeightedImageSet) -> dict[str, str | float | int]:
    """Return what is to be said of maps of an examination: the unit of PD, and what was assumed."""
    notes: dict[str, str | float | int] = {"PDUnit": "relative to cerebrospinal fluid, which is 1"}
    info = [note for image in measured.images for note in completed(image.weighting)[1]]
    if info:
        notes["Assumed"] = "; ".join(info)
    return notes


def without_signal(measured: WeightedImageSet) -> Bool[Tensor, "*voxels"]:
    """Return voxels of the brain in which every image is 0."""
    return measured.inside & torch.stack([image.signal == 0 for image in measured.images]).all(0)


def _maps(
    measured: WeightedImageSet,
    inside: Bool[Tensor, "*voxels"],
    columns: dict[str, Float[Tensor, "*voxels 3"]],
    left: Float[Tensor, "*voxels"],
) -> ParameterMaps:
    """Carry everything back from the real line."""
    status = torch.where(inside, int(VoxelStatus.OK), int(VoxelStatus.MASKED)).to(torch.uint8)
    status[inside & (left > IMPLAUSIBLE)] = int(VoxelStatus.IMPLAUSIBLE)
    status[without_signal(measured)] = int(VoxelStatus.NO_SIGNAL)
    free, reach = columns["free"], columns["reach"]
    values = free.exp()
    return assemble_maps(
        SPECS,
        values,
        values * columns["sd"],
        status,
        like=free,
        interval=((free - reach).exp(), (free + reach).exp()),
        interval_level=LEVEL,
        misfit=left,
        misfit_meaning=RMS_OF_LOG,
        affine=measured.affine,
        notes=notes_of(measured),
    )
