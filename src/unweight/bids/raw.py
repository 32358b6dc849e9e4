"""An acquisition as a raw BIDS dataset: one image and one sidecar for each volume."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from unweight.bids.collection import LINKS
from unweight.bids.derivatives.dataset import json_bytes, prepare_raw
from unweight.bids.names import BidsName, subject_folder
from unweight.bids.nifti.image import image_bytes
from unweight.bids.sidecar import OWN, OWN_FIELDS, Part
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import UsageError
from unweight.core.protocol import Protocol
from unweight.files.atomic import write_together

FIELDS = {"echo_time": "EchoTime", "inversion_time": "InversionTime"}
README = """# Images

Written by unweight. `sub-<label>` holds the images of one subject or object, one file for each
volume, with its timing in the JSON file beside it (times in seconds, angles in degrees).
"""


def write_raw(
    acquisition: Acquisition, root: Path, entities: Mapping[str, str], *, suffix: str = "IRT1"
) -> tuple[Path, ...]:
    """Write an acquisition as raw BIDS images; all files at once, or none.

    Args:
        acquisition: Magnitude or signed volumes; signed ones become `part-real`, complex ones
            `part-mag` and `part-phase`.
        root: Root of the dataset; made, if it is not there.
        entities: `sub`, and any others that name the series.
        suffix: BIDS suffix of the images: `IRT1`, `MEGRE`, `MESE`, `T1w` …

    Raises:
        UsageError: There is no such suffix here, or several volumes of one that stands alone.
        InputError: An entity or label is not allowed.
        OutputError: The folder holds another dataset, or cannot be written.
    """
    n_volumes = acquisition.protocol.n_volumes
    if suffix not in LINKS or (n_volumes > 1 and len(LINKS[suffix]) != 1):
        raise UsageError(f"{n_volumes} volumes cannot be written as {suffix}")
    folder = subject_folder(root, entities) / "anat"
    prepare_raw(root, "Images", README)
    files = list(_files(acquisition, folder, entities, suffix))
    write_together(files)
    return tuple(path for path, _ in files if path.suffix == ".gz")


def _files(
    acquisition: Acquisition, folder: Path, entities: Mapping[str, str], suffix: str
) -> Iterator[tuple[Path, bytes]]:
    for index in range(acquisition.protocol.n_volumes):
        links = {link: str(index + 1) for link in LINKS[suffix]}
        volume = acquisition.signal[..., index]
        fields = fields_of(acquisition.protocol, index, suffix)
        parts: dict[Part | None, Tensor]
        if acquisition.kind is SignalKind.COMPLEX:
            parts = {Part.MAGNITUDE: volume.abs(), Part.PHASE: volume.angle()}
        elif acquisition.kind is SignalKind.SIGNED:
            parts = {Part.REAL: volume}
        else:
            parts = {None: volume}
        for part, values in parts.items():
            labels = {} if part is None else {"part": part.value}
            unit = {"Units": "rad"} if part is Part.PHASE else {}
            stem = BidsName(entities={**entities, **links, **labels}, suffix=suffix).stem
            yield folder / f"{stem}.nii.gz", image_bytes(values, acquisition.affine)
            yield folder / f"{stem}.json", json_bytes(fields | unit)


def fields_of(protocol: Protocol, index: int, suffix: str) -> dict[str, object]:
    """Return the sidecar fields of one volume: seconds, degrees, tesla."""
    fields: dict[str, object] = {}
    repetition = "RepetitionTimeExcitation"
    if protocol.inversion_time is not None and suffix != "IRT1":
        repetition = "RepetitionTimePreparation"
    for name, label in {**FIELDS, "repetition_time": repetition}.items():
        value = getattr(protocol, name)
        if value is not None:
            fields[label] = float(value[index])
    if protocol.flip_angle is not None:
        fields["FlipAngle"] = math.degrees(float(protocol.flip_angle[index]))
    if protocol.field_strength is not None:
        fields["MagneticFieldStrength"] = protocol.field_strength
    own = {
        label: float(getattr(protocol, name)[index])
        for name, label in OWN_FIELDS.items()
        if getattr(protocol, name) is not None
    }
    return fields | ({OWN: own} if own else {})
