"""How a set was made: what was measured, methods in sentences, citations, and where it comes from."""

import math
from collections.abc import Mapping, Sequence

from unweight.report.shown_set import ShownSet
from unweight.report.trust import trained_on

COLOURS_CITED = (
    "Fuderer M, et al. Color-map recommendation for MR relaxometry maps. Magn Reson Med (2025), "
    "doi 10.1002/mrm.30290.",
    "Crameri F, Shephard GE, Heron PJ. The misuse of colour in science communication. Nat Commun "
    "11:5444 (2020), "
    "doi 10.1038/s41467-020-19160-7.",
)
BIDS_CITED = (
    "Karakuzu A, et al. qMRI-BIDS: an extension to the brain imaging data structure for quantitative "
    "magnetic "
    "resonance imaging data. Sci Data 9:517 (2022), doi 10.1038/s41597-022-01571-4."
)
TIMINGS = {
    "inversion_time": ("TI [ms]", 1e3),
    "echo_time": ("TE [ms]", 1e3),
    "repetition_time": ("TR [ms]", 1e3),
    "flip_angle": ("flip angle [°]", 180 / math.pi),
    "readout_time": ("readout [ms]", 1e3),
    "echo_spacing": ("echo spacing [ms]", 1e3),
    "train_length": ("train length", 1.0),
    "centre_index": ("centre of k-space", 1.0),
}
WEIGHTED = {
    "Readout": ("readout", 1.0),
    "RepetitionTime": ("TR [ms]", 1e3),
    "EchoTime": ("TE [ms]", 1e3),
    "InversionTime": ("TI [ms]", 1e3),
    "FlipAngle": ("flip angle [°]", 1.0),
}
LONG = ("TrainedOn", "Images")
Rows = list[tuple[str, ...]]


def protocol_table(map_set: ShownSet) -> tuple[tuple[str, ...], Rows]:
    """Return the head and the rows of the table of timings; nothing if none are known."""
    own = map_set.stored.own
    protocol, settings = own.get("Protocol"), own.get("Settings")
    if isinstance(protocol, Mapping):
        return _of_volumes(protocol)
    images = settings.get("Images") if isinstance(settings, Mapping) else None
    if isinstance(images, Mapping):
        return _of_images(images)
    return (), []


def facts(map_set: ShownSet) -> Rows:
    """Return what was acquired and set, as pairs of name and value."""
    fields, own = map_set.stored.fields, map_set.stored.own
    rows: Rows = []
    for name in ("MagneticFieldStrength", "Manufacturer", "ManufacturersModelName", "PulseSequenceType"):
        if name in fields:
            rows.append((name, f"{_told(fields[name])}{' T' if name == 'MagneticFieldStrength' else ''}"))
    if map_set.shape:
        size = map_set.affine[:3, :3].norm(dim=0).tolist()
        rows.append(("voxels", " × ".join(str(item) for item in map_set.shape)))
        rows.append(("voxel size", " × ".join(f"{item:.3g}" for item in size) + " mm"))
    noise = own.get("NoiseSD")
    if isinstance(noise, int | float):
        rows.append(("noise SD", f"{noise:.4g} (unit of the input)"))
    for part in ("Settings", "Notes"):
        value = own.get(part)
        if isinstance(value, Mapping):
            rows += _flat(value, "")
    return rows


def methods_paragraph(map_set: ShownSet) -> str:
    """Return the methods paragraph of a set."""
    fields, own = map_set.stored.fields, map_set.stored.own
    names = ", ".join(item.quantity.symbol for item in map_set.maps) or "Maps"
    algorithm = _told(fields.get("EstimationAlgorithm", "a method that its sidecar does not name"))
    version = _told(own.get("Version", "unknown"))
    info = [
        f"{names} {'was' if ',' not in names else 'were'} computed with unweight {version}: {algorithm}."
    ]
    field = fields.get("MagneticFieldStrength")
    head, rows = protocol_table(map_set)
    if rows:
        columns = {
            name: list(dict.fromkeys(row[place] for row in rows if row[place] != "–"))
            for place, name in enumerate(head)
            if place and name != "readout"
        }
        timings = "; ".join(
            f"{name.replace(' [', ' ').rstrip(']')}: {', '.join(values)}"
            for name, values in columns.items()
            if values
        )
        at = f" at {_told(field)} T" if field is not None else ""
        info.append(f"Images were acquired{at} ({len(rows)} volumes; {timings}).")
    units = ", ".join(
        f"{item.quantity.symbol} in {item.value.unit}" for item in map_set.maps if item.value.unit
    )
    if units:
        info.append(f"Units: {units}.")
    first = map_set.maps[0] if map_set.maps else None
    if first is not None and first.suffix == "Chimap":
        info.append(f"{first.description}.")
    if first is not None and first.suffix == "T1w":
        info.append("The image was synthesised by a network and not measured.")
    reference = fields.get("EstimationReference")
    if isinstance(reference, str) and reference:
        info.append(f"Reference: {reference.rstrip('.')}.")
    if trained_on(own):
        info.append("The network was trained on simulated images.")
    return " ".join(info)


def citations(map_set: Sequence[ShownSet]) -> list[str]:
    """Return what to cite for all sets, each once."""
    result = [str(item.stored.fields.get("EstimationReference", "")).strip() for item in map_set]
    return [*dict.fromkeys(item for item in result if item), *COLOURS_CITED, BIDS_CITED]


def sources(map_set: ShownSet) -> list[str]:
    """Return what a set was made from."""
    listed = map_set.stored.fields.get("Sources")
    return [str(item) for item in listed] if isinstance(listed, list) else []


def _of_volumes(protocol: Mapping[str, object]) -> tuple[tuple[str, ...], Rows]:
    columns: dict[str, list[str]] = {}
    for name, (title, factor) in TIMINGS.items():
        values = protocol.get(name)
        if isinstance(values, list) and values:
            columns[title] = [_number(value, factor) for value in values]
    count = max((len(values) for values in columns.values()), default=0)
    rows = [
        (str(index + 1), *(values[index] if index < len(values) else "–" for values in columns.values()))
        for index in range(count)
    ]
    return ("volume", *columns), rows


def _of_images(images: Mapping[str, object]) -> tuple[tuple[str, ...], Rows]:
    info = {name: image for name, image in images.items() if isinstance(image, Mapping)}
    keys = [key for key in WEIGHTED if any(key in value for value in info.values())]
    rows = [
        (name, *(_number(entry.get(key), WEIGHTED[key][1]) for key in keys)) for name, entry in info.items()
    ]
    return ("image", *(WEIGHTED[key][0] for key in keys)), rows


def _number(value: object, factor: float) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{factor * value:.6g}"
    return str(value) if isinstance(value, str) else "–"


def _flat(values: Mapping[str, object], before: str) -> Rows:
    """Return nested settings as pairs of a dotted name and a value."""
    rows: Rows = []
    for key, value in values.items():
        if key in LONG:
            continue
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name}.")
        else:
            rows.append((name, _told(value)))
    return rows


def _told(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(_told(item) for item in value)
    return "none" if value is None else str(value)
