"""The images one set of maps consists of, and what their sidecars say."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from unweight import __version__
from unweight.bids.derivatives.provenance import Provenance, copied_fields
from unweight.bids.sidecar import OWN
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.parameter import ParameterSpec
from unweight.core.text import printable

T1_SUFFIX = "T1map"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class DerivedImage:
    """One image of the set, before it has a name."""

    key: str
    desc: str
    suffix: str
    values: Float[Tensor, "*voxels"] | UInt8[Tensor, "*voxels"] | Bool[Tensor, "*voxels"]
    description: str
    unit: str | None = None
    facts: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


def derived_images(maps: ParameterMaps) -> Iterator[DerivedImage]:
    """Give the images of a set, the first map first."""
    for index, spec in enumerate(maps.specs):
        value = maps.values[..., index]
        displayed = value.nan_to_num() if spec.zero_filled else value
        yield _of_parameter(spec, "", displayed, spec.description or spec.name, desc=spec.desc)
        deviation = f"Standard deviation of {spec.name}"
        yield _of_parameter(spec, "std", maps.std[..., index], deviation)
        level = maps.interval_level
        for end, bound in (("lower", maps.lower), ("upper", maps.upper)):
            if bound is None or level is None:
                continue
            text = f"{end.capitalize()} end of the {100 * level:g} % interval of {spec.name}"
            yield _of_parameter(spec, end, bound[..., index], text, desc=f"{end}{round(100 * level)}")
    if maps.misfit is not None:
        yield DerivedImage(
            key="misfit",
            desc="misfit",
            suffix=maps.specs[0].suffix,
            values=maps.misfit,
            description=maps.misfit_meaning,
            unit="1",
        )
    meanings = {status.name: status.meaning for status in VoxelStatus}
    yield DerivedImage(
        key="status",
        desc=set_desc("status", maps.specs[0].suffix),
        suffix="dseg",
        values=maps.status,
        description="Status of each voxel",
        facts={"Meanings": meanings},
    )
    distrusted = torch.ones_like(maps.status, dtype=torch.bool)
    for status in (VoxelStatus.OK, VoxelStatus.MASKED, VoxelStatus.NO_SIGNAL):
        distrusted &= maps.status != status
    yield DerivedImage(
        key="invalid",
        desc=set_desc("invalid", maps.specs[0].suffix),
        suffix="mask",
        values=distrusted,
        description="Voxels with signal that have no value or a suspect one",
    )


def set_desc(what: str, suffix: str) -> str:
    """Return the `desc` of an image that belongs to a whole set, so that sets share a folder.

    Args:
        what: `status`, `invalid`, `brain`.
        suffix: Of the first map of the set; those of T1 have the plain name.
    """
    return what if suffix == T1_SUFFIX else f"{suffix.removesuffix('map')}{what}"


def brain_image(mask: Bool[Tensor, "*voxels"], how: str) -> DerivedImage:
    """Return the brain that was mapped, as an image of the set.

    Args:
        mask: The brain with its CSF.
        how: It was found.
    """
    return DerivedImage(
        key="brain", desc="brain", suffix="mask", values=mask, description=f"Brain including CSF, {how}"
    )


def _of_parameter(
    spec: ParameterSpec, what: str, values: Float[Tensor, "*voxels"], description: str, desc: str = ""
) -> DerivedImage:
    return DerivedImage(
        key=f"{spec.name} {what}".strip(),
        desc=desc or what,
        suffix=spec.suffix,
        values=values,
        description=description,
        unit=spec.unit,
    )


def sidecar_of(image: DerivedImage, provenance: Provenance) -> dict[str, object]:
    """Return the sidecar of one image, without what is known only when all are written."""
    content: dict[str, object] = {"Description": image.description, "Sources": list(provenance.sources)}
    if image.unit is None:
        if image.suffix == "mask":
            content["Type"] = "Brain" if image.desc.endswith("brain") else "ROI"
        return content | {OWN: {"Version": __version__, **image.facts}}
    content |= {"Units": image.unit, "SkullStripped": provenance.skull_stripped}
    content["EstimationAlgorithm"] = provenance.algorithm
    if provenance.reference:
        content["EstimationReference"] = provenance.reference
    return content | copied_fields(provenance.acquired) | {OWN: {"Version": __version__, **image.facts}}


def facts_of(maps: ParameterMaps, provenance: Provenance) -> dict[str, object]:
    """Return what the sidecar of the first map says about the whole set."""
    facts: dict[str, object] = {}
    if provenance.protocol is not None:
        facts["Protocol"] = provenance.protocol.as_dict()
    if provenance.settings:
        facts["Settings"] = plain(provenance.settings)
    if maps.notes:
        facts["Notes"] = plain(maps.notes)
    if provenance.notes:
        facts["Remarks"] = [printable(note) for note in provenance.notes]
    if maps.noise_sd is not None:
        facts["NoiseSD"] = plain(maps.noise_sd)
    if maps.interval_level is not None:
        facts["IntervalLevel"] = maps.interval_level
    facts["Voxels"] = {status.name: count for status, count in maps.count().items()}
    return facts


def status_key() -> bytes:
    """Return the table that goes with the status image."""
    lines = ["index\tname"] + [f"{status.value}\t{status.name}" for status in VoxelStatus]
    return "".join(f"{line}\n" for line in lines).encode()


def plain(value: object) -> object:
    """Return a value as JSON can hold it: numbers that are not finite as null, paths by name only."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return value.name
    return value if value is None or isinstance(value, bool | int | str) else str(value)
