"""The way out: maps as BIDS derivatives that say what they are and where they come from.

For each parameter there is the map, its standard deviation (`desc-std`) and, where one was computed,
its interval (`desc-lower90`, `desc-upper90`); once for all, the reduced chi-square of the fit
(`desc-misfit`, under the suffix of the first parameter), the status of each voxel
(`desc-status_dseg`, with its key beside it) and the voxels that must not be trusted
(`desc-invalid_mask`); other sets than those of T1 have the name of their first map before these words
(`desc-R2starstatus_dseg`), so that several sets share a folder. The sidecar of the first map is written
last and holds the SHA-256 of every image: a set without it, or one that does not agree with it, is not
complete (`bids.derivatives.whole_set`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from unweight.bids.derivatives.dataset import json_bytes, prepare_derivatives
from unweight.bids.derivatives.description import (
    DerivedImage,
    derived_images,
    facts_of,
    sidecar_of,
    status_key,
)
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.whole_set import commit, is_whole, listed_in, names_beside
from unweight.bids.names import BidsName, image_stem, subject_folder
from unweight.bids.nifti.image import image_bytes
from unweight.bids.read import KEPT_ENTITIES
from unweight.bids.sidecar import read_sidecar
from unweight.core.maps import ParameterMaps
from unweight.files.atomic import check_within, fingerprint
from unweight.files.lock import awaited

LOCK = ".unweight.lock"
# Suffixes that are not in BIDS; `.bidsignore` excludes them from validation.
IGNORED = (
    *("*_IEmap.nii.gz", "*_IEmap.json", "*_phantom.tsv", "*.html", "sub-*/figures", "logs"),
    *("*_desc-total_fieldmap.*", "*_desc-local_fieldmap.*", "group_desc-*.tsv", "CITATION.bib"),
    "unweight-viewer-*.js",
)
README = """# Quantitative maps

Computed with unweight. Each map `sub-<label>_<suffix>.nii.gz` is accompanied by:

- `_desc-std_<suffix>`: standard deviation of each value,
- `_desc-lower90_<suffix>`, `_desc-upper90_<suffix>`: its 90 % interval, if one was computed,
- `_desc-misfit_<suffix>`: residual of the signal model in each voxel, defined in its sidecar,
- `_desc-status_dseg`: status of each voxel, with a look-up table in the `.tsv` file,
- `_desc-invalid_mask`: voxels with signal that have no value or a suspect one,
- `_desc-brain_mask`: for maps from weighted images, the mask that was mapped.

For maps other than T1, the name of the first map precedes status, invalid and brain, as in
`_desc-R2starstatus_dseg`. Susceptibility (`_Chimap`) is accompanied by the fields it was computed from,
`_desc-total_fieldmap` and `_desc-local_fieldmap`, in ppm of the static field. A synthetic image (not
measured) has `desc-synth`: `_desc-synth_T1w`. Outside the brain it is 0 if a network synthesised it from
gradient echoes, and NaN if it was computed from maps.

A voxel without a value is NaN. Units are in the JSON files. The JSON file of the map itself lists
the SHA-256 of every image of the set.
"""


@final
@dataclass(frozen=True, kw_only=True)
class WrittenMaps:
    """What was written.

    Attributes:
        images: Paths of the images, by what they are: `T1`, `T1 std`, `T1 lower`, `misfit`, `status` …
        sidecar: The sidecar of the first map, which completes the set.
    """

    images: Mapping[str, Path]
    sidecar: Path


def write_maps(
    maps: ParameterMaps,
    out_dir: Path,
    entities: Mapping[str, str],
    provenance: Provenance,
    beside: Sequence[DerivedImage] = (),
) -> WrittenMaps:
    """Write maps as BIDS derivatives; all files at once, or none.

    Args:
        maps: What an estimator gave.
        out_dir: Root of the derivatives; made, if it is not there.
        entities: `sub`, and any of `ses`, `acq`, `ce`, `rec`, `run`.
        provenance: Where they come from.
        beside: Further images of the set.

    Raises:
        InputError: An entity or label is not allowed.
        OutputError: The folder holds another dataset, or cannot be written.
    """
    with visit_locked(out_dir, entities):
        return write_maps_locked(maps, out_dir, entities, provenance, beside)


def visit_locked(out_dir: Path, entities: Mapping[str, str]) -> AbstractContextManager[None]:
    """Keep others from writing the maps of a subject and session; wait for those who do.

    Raises:
        InputError: An entity or label is not allowed.
        OutputError: The lock cannot be had.
    """
    folder = subject_folder(out_dir, entities)
    check_within(out_dir, folder)
    return awaited(folder / LOCK, folder.relative_to(out_dir).as_posix())


def write_maps_locked(
    maps: ParameterMaps,
    out_dir: Path,
    entities: Mapping[str, str],
    provenance: Provenance,
    beside: Sequence[DerivedImage] = (),
    outdated: Sequence[Path] = (),
) -> WrittenMaps:
    """Write maps as `write_maps` does, where the visit is locked already.

    Args:
        maps: As there.
        out_dir: As there.
        entities: As there.
        provenance: As there.
        beside: As there.
        outdated: What was drawn and measured from the set before, which is removed.
    """
    folder = anat_folder(out_dir, entities)
    check_within(out_dir, folder)
    prepare_derivatives(out_dir, provenance.root, IGNORED, README)
    images = (*derived_images(maps), *beside)
    paths = {
        image.key: folder / f"{_stem_of(entities, image.desc, image.suffix)}.nii.gz" for image in images
    }
    primary = _beside(paths[images[0].key], ".json")
    commit(primary, _files(maps, images, paths, provenance), outdated)
    return WrittenMaps(images=paths, sidecar=primary)


def is_complete(out_dir: Path, entities: Mapping[str, str], suffix: str = "T1map", desc: str = "") -> bool:
    """Whether a set of maps is there, whole and unchanged: every image has the SHA-256 it was given."""
    return is_whole(sidecar_path(out_dir, entities, suffix, desc))


def sidecar_path(out_dir: Path, entities: Mapping[str, str], suffix: str = "T1map", desc: str = "") -> Path:
    """Return where the sidecar of the first map of a set is, or would be."""
    return anat_folder(out_dir, entities) / f"{_stem_of(entities, desc, suffix)}.json"


def files_of(
    out_dir: Path, entities: Mapping[str, str], suffix: str = "T1map", desc: str = ""
) -> tuple[Path, ...]:
    """Return all files of a set of maps, its sidecars among them; nothing if no set was completed."""
    primary = sidecar_path(out_dir, entities, suffix, desc)
    result = {primary} if primary.is_file() else set()
    result |= {primary.with_name(name) for name in names_beside(listed_in(primary))}
    return tuple(sorted(item for item in result if item.is_file()))


def sources_of(
    out_dir: Path, entities: Mapping[str, str], suffix: str = "T1map", desc: str = ""
) -> tuple[str, ...] | None:
    """Return the sources that a set of maps names, or None if there is no set."""
    path = sidecar_path(out_dir, entities, suffix, desc)
    if not path.is_file():
        return None
    listed = read_sidecar(path).get("Sources")
    return tuple(str(source) for source in listed) if isinstance(listed, list) else ()


def _files(
    maps: ParameterMaps, images: Sequence[DerivedImage], paths: Mapping[str, Path], provenance: Provenance
) -> Iterator[tuple[Path, bytes]]:
    """Give the files of a set in the order of writing: images, sidecars, and the one that completes it."""
    hashes: dict[str, str] = {}
    for image in images:
        content = image_bytes(image.values, maps.affine, provenance.placement)
        hashes[paths[image.key].name] = fingerprint(content)
        yield paths[image.key], content
        if image.suffix == "dseg":
            yield _beside(paths[image.key], ".tsv"), status_key()
    first, *others = images
    for image in others:
        yield _beside(paths[image.key], ".json"), json_bytes(sidecar_of(image, provenance))
    facts = facts_of(maps, provenance) | {"SHA256": hashes}
    content = json_bytes(sidecar_of(replace(first, facts=facts), provenance))
    yield _beside(paths[first.key], ".json"), content


def anat_folder(out_dir: Path, entities: Mapping[str, str]) -> Path:
    """Return the folder of the maps of a subject and session."""
    return subject_folder(out_dir, entities) / "anat"


def _stem_of(entities: Mapping[str, str], desc: str, suffix: str) -> str:
    described = {"desc": desc} if desc else {}
    return BidsName(entities={**_kept(entities), **described}, suffix=suffix).stem


def _kept(entities: Mapping[str, str]) -> dict[str, str]:
    return {key: entities[key] for key in KEPT_ENTITIES if key in entities}


def _beside(image: Path, ending: str) -> Path:
    return image.with_name(f"{image_stem(image)}{ending}")
