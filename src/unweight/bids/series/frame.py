"""Single volumes, cut from files, each with its timing and all in one unit."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import final

from jaxtyping import Bool, Float
from torch import Tensor

from unweight.bids.nifti.grid import Grid
from unweight.bids.nifti.philips import Rescaling
from unweight.bids.nifti.volume import Volume
from unweight.bids.nifti.voxels import Signs, signs_of
from unweight.bids.series.incoherent import SliceFacts
from unweight.bids.series.overrides import GIVEN_LABELS, ProtocolOverrides, override, overrides_of
from unweight.bids.series.part import Entry
from unweight.bids.sidecar import Sidecar, Timing, timing_of
from unweight.core.errors import ProtocolError

LISTED = {
    "InversionTime",
    "RepetitionTime",
    "RepetitionTimeExcitation",
    "RepetitionTimePreparation",
    "EchoTime",
    "FlipAngle",
}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One volume of a series.

    Attributes:
        data: Its values, or those that were kept.
        signs: Of all its values.
        slices: Of all its values, where some are kept; None if they are not known.
        saturated: Voxels clipped by the stored number format; None where that cannot be known.
        grid: Where its voxels are.
        entry: The file it comes from.
        timing: What is known of its timing.
    """

    data: Float[Tensor, "x y z"]
    signs: Signs
    slices: SliceFacts | None
    saturated: Bool[Tensor, "x y z"] | None
    grid: Grid
    entry: Entry
    timing: Timing


def frames_of(
    entries: Sequence[Entry],
    volumes: Sequence[Volume],
    scalings: Sequence[Rescaling],
    given: ProtocolOverrides,
) -> list[Frame]:
    """Cut the files into volumes, each with its timing, all in one unit."""
    counts = [volume.data.shape[3] if volume.data.ndim == 4 else 1 for volume in volumes]
    overrides = overrides_of(given, sum(counts), entries)
    frames: list[Frame] = []
    for entry, volume, scaling, n_volumes in zip(entries, volumes, scalings, counts, strict=True):
        shape = (*volume.data.shape[:3], n_volumes)
        data = volume.data.reshape(shape)
        saturated = None if volume.saturated is None else volume.saturated.reshape(shape)
        for index in range(n_volumes):
            given_here = overrides[len(frames)]
            sidecar = override(_of_volume(entry.sidecar, index, n_volumes, set(given_here)), given_here)
            values = _rescaled(data[..., index], scaling)
            looked_at = bool(volume.slices) and not scaling.offset
            counted = bool(volume.signs) and scaling == Rescaling()
            frames.append(
                Frame(
                    data=values,
                    signs=volume.signs[index] if counted else signs_of(values.numpy()),
                    slices=volume.slices[index].times(scaling.factor) if looked_at else None,
                    saturated=None if saturated is None else saturated[..., index],
                    grid=volume.grid,
                    entry=entry,
                    timing=timing_of(sidecar),
                )
            )
    return frames


def _rescaled(data: Float[Tensor, "x y z"], scaling: Rescaling) -> Float[Tensor, "x y z"]:
    return data if scaling == Rescaling() else data * scaling.factor + scaling.offset


def _of_volume(sidecar: Sidecar, index: int, n_volumes: int, given: Set[str]) -> Sidecar:
    """Return the sidecar with one volume's value where many are listed."""
    replaced = {label for name in given for label in GIVEN_LABELS[name]}
    listed = (LISTED & sidecar.fields.keys()) - replaced
    picked = {label: _picked(sidecar, label, index, n_volumes) for label in listed}
    return sidecar.with_fields({**sidecar.fields, **picked})


def _picked(sidecar: Sidecar, label: str, index: int, n_volumes: int) -> object:
    """Take one volume's value where a sidecar lists one per volume; one TI for many is refused."""
    value = sidecar.fields[label]
    if isinstance(value, list):
        if len(value) != n_volumes:
            raise ProtocolError(
                f"{label} lists {len(value)} values for {n_volumes} volumes",
                remedy="Write one value per volume.",
                path=sidecar.origin(label),
            )
        return value[index]
    if label == "InversionTime" and n_volumes > 1:
        raise ProtocolError(
            f"one InversionTime for {n_volumes} volumes; the others are unknown",
            remedy="Split the file, or write a list with one value per volume.",
            path=sidecar.origin(label),
        )
    return value
