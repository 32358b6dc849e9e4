"""Estimators of T1, T2 and PD that know the truth, to see that they are scored as what they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor

from unweight.benchmark.core.run import Case, Dataset
from unweight.core.errors import ProtocolError
from unweight.core.estimator import Estimator, Progress
from unweight.core.examination import WeightedImageSet
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.parameter import ParameterSpec
from unweight.core.seeding import seeded_generator
from unweight.synth.simulate_weighted import SPECS


@contextmanager
def watch(label: str) -> Iterator[Progress]:
    yield lambda done, total: None


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ToldMaps(Estimator):
    """Says the truth times a factor and noise, with an interval, or one value everywhere."""

    known: dict[int, Tensor] = field(default_factory=dict)
    factor: float = 1.0
    noise: float = 0.0
    level: tuple[float, float, float] | None = None
    half_width: float | None = 0.1
    share_missing: float = 0.0
    refuses: float | None = None

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        return SPECS

    def accept(self, examination: WeightedImageSet) -> None:
        if examination.field_strength == self.refuses:
            raise ProtocolError(f"no weights for {self.refuses:g} T", remedy="Use others.")

    def __call__(self, examination: WeightedImageSet, progress: Progress | None = None) -> ParameterMaps:
        self.accept(examination)
        generator = seeded_generator(0, "told maps")
        if self.level is None:
            truth = self.known[id(examination)]
        else:
            truth = torch.tensor(self.level).expand(*examination.voxels, 3)
        values = truth * self.factor
        values = values * (1 + self.noise * torch.randn(values.shape, generator=generator))
        lost = torch.rand(examination.voxels, generator=generator) < self.share_missing
        status = torch.where(examination.mask, int(VoxelStatus.OK), int(VoxelStatus.MASKED))
        status = torch.where(lost & examination.mask, int(VoxelStatus.OUT_OF_RANGE), status).to(torch.uint8)
        values = torch.where((status == VoxelStatus.OK)[..., None], values, torch.nan)
        reach = None if self.half_width is None else values * self.half_width
        return ParameterMaps(
            specs=SPECS,
            values=values,
            std=values.abs() * 0.1,
            status=status,
            lower=None if reach is None else values - reach,
            upper=None if reach is None else values + reach,
            interval_level=None if reach is None else 0.9,
        )


def overheard(dataset: Dataset, known: dict[int, Tensor]) -> Dataset:
    """Return a set that writes down the truth of each examination before it is mapped."""
    kept = []  # an id is that of one object only as long as this lives

    def make(number: int) -> Case:
        case = dataset.make(number)
        kept.append(case.input)
        known[id(case.input)] = torch.stack(list(case.truth.values()), dim=-1)
        return case

    return replace(dataset, make=make)
