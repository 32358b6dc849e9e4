"""All subjects together: the status of each map, its statistics in regions, and what failed.

OUT/group_desc-qc.tsv        one row for each map of each visit
OUT/group_desc-regions.tsv   one row for each map and region
OUT/group_desc-failures.tsv  one row for each step that failed
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.bids.derivatives.stored import (
    Condition,
    StoredImage,
    StoredSet,
    check_same,
    labels_for,
    read_image,
    read_maps,
    stored_subject,
    subjects_in,
)
from unweight.bids.folders import is_folder, labelled_folders, listed
from unweight.bids.names import image_stem, parse_stem
from unweight.bids.nifti.label_image import LabelImage, read_label_image
from unweight.bids.nifti.volume import open_grid
from unweight.bids.participants import read_participants
from unweight.core.errors import InputError, UnweightError
from unweight.core.maps import VoxelStatus, failed_voxels
from unweight.files.text_files import write_table
from unweight.metrics.accuracy import quartiles
from unweight.metrics.regions import region_table
from unweight.prepare.labels_on_grid import RESAMPLED, labels_on_grid
from unweight.report.study import Failure, QcRow, RegionValue, Study
from unweight.run.plan import plan_run, relative_message
from unweight.run.planned import Unmapped
from unweight.run.record import State, records_of

# Columns of the tables as BIDS names them, and the keys of their values.
COLUMN_NAMES = {"subject": "participant_id", "session": "session_id"}
ENTITY_KEYS = {"subject": "sub-", "session": "ses-"}
N_NAMED = 5
OWN_SPACE = "T1w"  # of labels with the entity `space` that are not in a standard space
NOT_LABELS = ("status", "invalid", "brain")


@final
@dataclass(frozen=True, kw_only=True)
class LabelTree:
    """Label images to measure maps in.

    Attributes:
        folder: With `sub-…` folders; images are `…_dseg.nii.gz` in the space of the subject's scans.
        erode: Layers of voxels taken off each region.
    """

    folder: Path
    erode: int = 0

    def of(self, stored_set: StoredSet) -> Path | None:
        """Return the label image of the visit a set belongs to: the first by name, if there is one."""
        entities = stored_set.name.entities
        folder = self.folder / f"sub-{entities['sub']}"
        if "ses" in entities:
            folder = folder / f"ses-{entities['ses']}"
        inside = [*listed(folder), *listed(folder / "anat")]
        paths = [path for path in inside if (image_stem(path) or "").endswith("_dseg")]
        names = [(path, parse_stem(path.name.partition(".")[0])) for path in paths]
        usable = [
            path
            for path, name in names
            if name is not None
            and not name.entities.get("desc", "").endswith(NOT_LABELS)
            and name.entities.get("space", OWN_SPACE) == OWN_SPACE
        ]
        return usable[0] if usable else None


def study_of(out: Path, raw: Path, labels: LabelTree | None = None, *, erode: int = 0) -> Study:
    """Read what there is of all subjects.

    Args:
        out: Root of the derivatives.
        raw: Root of the BIDS tree, whose `participants.tsv` may tell age and sex.
        labels: Where to measure; None for the segmentations among the derivatives, if there are any.
        erode: Layers of voxels taken off each region of these.

    Raises:
        InputError: There are no derivatives.
    """
    qc: list[QcRow] = []
    regions: list[RegionValue] = []
    unlabelled: list[str] = []
    resampled = False
    failures = [_failure(entry.name, entry.pipeline, entry.reason) for entry in _failed(out)]
    failures += [
        _failure(entry.label, entry.pipeline or "plan", entry.reason)
        for entry in _unusable(raw)
        if entry.fault
    ]
    subjects = () if failures and not labelled_folders(out, "sub") else subjects_in(out)
    for label in subjects:
        try:
            subject = stored_subject(out, label)
        except InputError as error:
            failures.append(Failure(subject=label, step="read", reason=relative_message(error, out)))
            continue
        failures += [Failure(subject=label, step="read", reason=problem) for problem in subject.problems]
        for item in subject.sets:
            try:
                measured = list(_measured(item))
                qc += [row for row, _, _ in measured]
                path = labels_for(item, subject) if labels is None else labels.of(item)
                if path is not None:
                    image = read_label_image(path)
                    on_maps = labels_on_grid(image, open_grid(item.images[0].path))
                    resampled |= on_maps is not image
                    regions += _regions(measured, on_maps, erode if labels is None else labels.erode)
                elif labels is not None:
                    unlabelled.append(item.name.stem)
            except UnweightError as error:
                failures.append(_failure(item.name.stem, "group", relative_message(error, out)))
    participants = read_participants(raw, subjects)
    pages = frozenset(label for label in subjects if (out / f"sub-{label}.html").is_file())
    return Study(
        qc=tuple(qc),
        regions=tuple(regions),
        failures=tuple(failures),
        participants=participants.people,
        pages=pages,
        remarks=(*participants.remarks, *_unlabelled(unlabelled), *((RESAMPLED,) if resampled else ())),
    )


def write_study(out: Path, study: Study) -> tuple[Path, ...]:
    """Write the tables of a study.

    Raises:
        OutputError: One could not be written.
    """
    written = []
    for name, kind, rows in (
        ("qc", QcRow, study.qc),
        ("regions", RegionValue, study.regions),
        ("failures", Failure, study.failures),
    ):
        path = out / f"group_desc-{name}.tsv"
        names = [field.name for field in fields(kind)]
        columns = [COLUMN_NAMES.get(name, name) for name in names]
        content = [[_cell(_entity(name, asdict(row)[name])) for name in names] for row in rows]
        write_table(path, content, columns)
        written.append(path)
    return tuple(written)


def _entity(name: str, value: object) -> object:
    """Return a label with its key, as in participants.tsv and sessions.tsv; other values as they are."""
    key = ENTITY_KEYS.get(name)
    if key is None or not value or str(value).startswith(key):
        return value
    return f"{key}{value}"


def _unlabelled(names: Sequence[str]) -> tuple[str, ...]:
    """Say which sets of maps have no label image."""
    if not names:
        return ()
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return (f"no label image matches {', '.join(names[:N_NAMED])}{more}",)


Measured = tuple[QcRow, Float[Tensor, "x y z"], Bool[Tensor, "x y z"]]


def _measured(stored_set: StoredSet) -> Iterator[Measured]:
    """Give the status of each map of a set, the map, and where it can be used."""
    damaged = [image.path.name for image in stored_set.images if image.condition is not Condition.WHOLE]
    if damaged:
        raise InputError(f"{damaged[0]} is missing or was changed", remedy="Compute the maps again.")
    images, status = read_maps(stored_set)
    misfit = next((read_image(image) for image in stored_set.images if image.desc == "misfit"), None)
    usable = status == VoxelStatus.OK
    for image, values in images:
        yield _row(stored_set, image, (values, status), misfit), values, usable
    check_same(stored_set)


def _row(
    stored_set: StoredSet,
    image: StoredImage,
    located: tuple[Float[Tensor, "x y z"], Float[Tensor, "x y z"]],
    misfit: Float[Tensor, "x y z"] | None,
) -> QcRow:
    values, status = located
    with_signal = (status != VoxelStatus.MASKED) & (status != VoxelStatus.NO_SIGNAL)
    count = int(with_signal.sum())
    usable = status == VoxelStatus.OK
    failed = failed_voxels(status.to(torch.uint8)) & with_signal
    share = {"usable": int(usable.sum()), "failed": int(failed.sum())}
    share["suspect"] = count - share["usable"] - share["failed"]
    low, middle, high = _quartiles(values[usable])
    entities = stored_set.name.entities
    told_apart = [f"{key}-{entities[key]}" for key in ("acq", "ce", "rec", "run") if key in entities]
    return QcRow(
        subject=entities["sub"],
        session=entities.get("ses", ""),
        set="_".join(told_apart),
        map=image.name.suffix,
        unit=image.unit,
        voxels=count,
        **{name: number / count if count else math.nan for name, number in share.items()},
        median=middle,
        q25=low,
        q75=high,
        misfit=math.nan if misfit is None else _quartiles(misfit[usable])[1],
    )


def _regions(measured: list[Measured], image: LabelImage, erode: int) -> Iterator[RegionValue]:
    """Give the statistics of the maps of a set in the regions of its visit, in voxels that can be used."""
    for row, values, usable in measured:
        for region in region_table(values, image.labels, image.names, usable, erode):
            yield RegionValue(
                subject=row.subject,
                session=row.session,
                map=row.map,
                unit=row.unit,
                region=region.name,
                voxels=region.n_voxels - region.n_missing,
                mean=region.mean,
                sd=region.sd,
                median=region.median,
                q25=region.lower_quartile,
                q75=region.upper_quartile,
            )


def _unusable(raw: Path) -> Sequence[Unmapped]:
    """Return what is wrong with the raw tree, if it is still there."""
    return plan_run(raw.absolute()).refusals if is_folder(raw) else ()


def _failed(out: Path) -> Iterator[Any]:
    return (record for record in records_of(out) if record.state is State.FAILED)


def _failure(name: str, step: str, reason: str) -> Failure:
    bids_name = parse_stem(name)
    entities: Mapping[str, str] = {} if bids_name is None else bids_name.entities
    return Failure(
        subject=entities.get("sub", name), session=entities.get("ses", ""), step=step, reason=reason
    )


def _quartiles(values: Float[Tensor, " voxels"]) -> tuple[float, float, float]:
    return quartiles(values[torch.isfinite(values)].double().numpy())


def _cell(value: object) -> str | float | int | None:
    if isinstance(value, str):
        return value or None
    return value if isinstance(value, float | int) else None
