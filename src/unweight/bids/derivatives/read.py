"""Maps back from the derivatives that `bids.derivatives.write` made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.bids.derivatives.description import set_desc
from unweight.bids.derivatives.whole_set import unchanged, unfinished_in
from unweight.bids.derivatives.write import is_complete
from unweight.bids.folders import labelled_folders, listed
from unweight.bids.names import BidsName, image_stem, parse_stem
from unweight.bids.nifti.volume import open_grid, open_volume
from unweight.bids.sidecar import OWN, Sidecar, read_sidecar
from unweight.core.errors import InputError, ProtocolError
from unweight.core.maps import ParameterMaps
from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import Protocol, protocol_from_values
from unweight.core.text import natural_key


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class StoredMaps:
    """A set of maps on disk.

    Attributes:
        maps: The maps.
        entities: BIDS entities of the set.
        folder: Where its images lie.
        field_strength: Of the scanner, if the input's sidecar said so [T].
        protocol: Timings of the volumes they were made from.
        settings: Configuration of the method.
    """

    maps: ParameterMaps
    entities: Mapping[str, str]
    folder: Path
    field_strength: float | None
    protocol: Protocol | None
    settings: Mapping[str, object]


def find_maps(out_dir: Path, suffix: str) -> tuple[Path, ...]:
    """Return the sidecars of all sets of maps whose first map has this suffix.

    A folder that may not be read is among them, and so is a sidecar that cannot be, or that an unfinished
    set does not have yet: `read_maps` says why.

    Raises:
        InputError: There is no such folder, or no set in it.
    """
    if not out_dir.is_dir():
        raise InputError("is not a folder", remedy="Give the folder that holds the maps.", path=out_dir)
    paths = [
        path
        for subject in labelled_folders(out_dir, "sub")
        for path in sorted(_sidecars(subject, suffix), key=natural_key)
        if not path.exists() or _is_own(path)
    ]
    if not paths:
        raise InputError(
            f"contains no {suffix} written by unweight",
            remedy="Compute the maps first, or give the folder they were written to.",
            path=out_dir,
        )
    return tuple(paths)


def _sidecars(subject: Path, suffix: str) -> list[Path]:
    """Return the sidecars of one subject that are named like those of maps, or what cannot be read."""
    try:
        folders = [subject, *labelled_folders(subject, "ses")]
    except InputError:
        return [subject]
    paths: list[Path] = []
    for folder in folders:
        try:
            inside = listed(folder / "anat")
        except InputError:
            paths.append(folder / "anat")
            continue
        inside = tuple({*inside, *unfinished_in(folder / "anat")})
        named = [
            (path, parse_stem(path.name.removesuffix(".json"))) for path in inside if path.suffix == ".json"
        ]
        paths += [
            path
            for path, name in named
            if name is not None and name.suffix == suffix and "desc" not in name.entities
        ]
    return paths


def _is_own(path: Path) -> bool:
    """Whether a sidecar is one this program wrote, or cannot be read."""
    try:
        return path.suffix != ".json" or OWN in read_sidecar(path)
    except InputError:
        return True


def read_maps(out_dir: Path, sidecar: Path, specs: tuple[ParameterSpec, ...]) -> StoredMaps:
    """Read one set of maps.

    Args:
        out_dir: Root of the derivatives.
        sidecar: Of the first map of the set.
        specs: The maps to read.

    Raises:
        InputError: The set is unfinished, incomplete or was changed, or an image is unusable.
    """
    if sidecar.suffix != ".json":
        listed(sidecar)
    with unchanged(sidecar):
        return _read(out_dir, sidecar, specs)


def _read(out_dir: Path, sidecar: Path, specs: tuple[ParameterSpec, ...]) -> StoredMaps:
    name = parse_stem(sidecar.name.removesuffix(".json"))
    if name is None or not is_complete(out_dir, name.entities, name.suffix):
        raise InputError(
            "is inconsistent with its images: the set is incomplete or was changed",
            remedy="Compute the maps again.",
            path=sidecar,
        )
    folder = sidecar.parent

    def path_of(suffix: str, desc: str = "") -> Path:
        entities = {**name.entities, **({"desc": desc} if desc else {})}
        return folder / f"{BidsName(entities=entities, suffix=suffix).stem}.nii.gz"

    def values(suffix: str, desc: str = "") -> Float[Tensor, "x y z"]:
        path = path_of(suffix, desc)
        volume = open_volume(path)
        if volume.data.ndim != 3 or volume.data.is_complex():
            raise InputError(
                "is not a single real-valued volume", remedy="Compute the maps again.", path=path
            )
        return volume.data

    first = sidecar.with_name(f"{image_stem(sidecar.with_suffix('.nii.gz'))}.nii.gz")
    first_suffix, fields = specs[0].suffix, read_sidecar(sidecar)
    value = fields.get(OWN)
    own: Mapping[str, object] = value if isinstance(value, Mapping) else {}
    noise, settings = own.get("NoiseSD"), own.get("Settings")
    return StoredMaps(
        maps=ParameterMaps(
            specs=specs,
            values=torch.stack([values(spec.suffix) for spec in specs], dim=-1),
            std=torch.stack([values(spec.suffix, "std") for spec in specs], dim=-1),
            status=values("dseg", set_desc("status", first_suffix)).to(torch.uint8),
            misfit=values(first_suffix, "misfit") if path_of(first_suffix, "misfit").exists() else None,
            noise_sd=noise if isinstance(noise, float) else None,
            affine=open_grid(first).affine,
        ),
        entities=name.entities,
        folder=folder,
        field_strength=Sidecar(image=first, fields=fields).number("MagneticFieldStrength"),
        protocol=_protocol(own.get("Protocol"), sidecar),
        settings=settings if isinstance(settings, Mapping) else {},
    )


def _protocol(known: object, sidecar: Path) -> Protocol | None:
    if not isinstance(known, Mapping):
        return None
    timings = {name: values for name, values in known.items() if isinstance(values, list)}
    field = known.get("field_strength")
    try:
        return protocol_from_values(field_strength=field if isinstance(field, float) else None, **timings)
    except (ProtocolError, TypeError, ValueError) as error:
        raise InputError(
            f"contains an invalid protocol: {error}", remedy="Compute the maps again.", path=sidecar
        ) from error
