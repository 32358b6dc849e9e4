"""Provenance of a set: acquisition parameters, methods paragraph, citations, sources."""

import math
from collections.abc import Mapping, Sequence

from unweight.bids.derivatives.stored import Condition, StoredImage, StoredSet
from unweight.registry import method, quantity
from unweight.report.shown_set import ShownSet, unit_shown
from unweight.report.trust import trained_on

PROGRAM_CITED = (
    "The unweight developers. unweight: quantitative maps of the brain from weighted MR images. Software, "
    "version {version}."
)
UNITS = {"a.u.": "arbitrary units"}
NETWORK_MASK = ("network", "mask")  # name and family of the method
GIVEN = "given"  # a brain mask in the settings of a set
N_DIGITS = 12  # of a SHA-256 in a sentence
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
    "readout_time": ("excitation to last echo [ms]", 1e3),
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


def protocol_table(stored: StoredSet) -> tuple[tuple[str, ...], Rows]:
    """Return the head and the rows of the table of timings; nothing if none are known."""
    own = stored.own
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


def methods_paragraph(stored: StoredSet) -> str:
    """Return a paragraph for the Methods section of a paper; only sidecars are needed.

    Args:
        stored: The maps that it is about.
    """
    fields, own = stored.fields, stored.own
    maps = _maps(stored)
    version = _told(own.get("Version", "(unknown version)"))
    algorithm = _clause(_told(fields.get("EstimationAlgorithm", "")))
    first = maps[0] if maps else None
    synthetic = first is not None and stored.name.entities.get("desc") == "synth"
    if first is not None and synthetic:
        article = "An" if first.name.suffix == "FLAIR" else "A"
        source = "" if trained_on(own) else " from maps"
        start = f"{article} {first.name.suffix} image was synthesised{source} (not measured)"
    else:
        named = _listed([_named(item) for item in maps]) or "Maps"
        start = f"{named[:1].upper()}{named[1:]} {'was' if len(maps) == 1 else 'were'} estimated"
    sentences = [f"{start} with unweight {version}{f' ({algorithm})' if algorithm else ''}."]
    acquired = _acquired(stored)
    if acquired:
        sentences.append(acquired)
    sentences += _masked(own)
    if not synthetic:
        sentences += _units(maps)
    if first is not None and first.name.suffix == "Chimap":
        _, _, relative = first.description.rstrip(".").partition(", ")
        sentences += [f"{quantity(first.name.suffix).symbol} is {relative}."] if relative else []
    if trained := trained_on(own):
        images = "simulated images" if "simulated" in trained.lower() else "images provided by the user"
        sentences.append(f"The network{_weights(own)} was trained on {images}.")
    reference = fields.get("EstimationReference")
    if isinstance(reference, str) and reference:
        sentences.append(f"Reference{'s' if ';' in reference else ''}: {reference.rstrip('.')}.")
    return " ".join(sentences)


def _masked(own: Mapping[str, object]) -> list[str]:
    """Return the sentence on the brain mask; nothing if there is none."""
    settings = own.get("Settings")
    how = settings.get("BrainMask") if isinstance(settings, Mapping) else None
    if not isinstance(how, str):
        return []
    return ["A brain mask was provided." if how == GIVEN else f"The brain was {how.rstrip('.')}."]


def _mask_reference(own: Mapping[str, object]) -> str:
    """Return what to cite for the brain mask; nothing unless a network made it."""
    (sentence,) = _masked(own) or [""]
    return method(*NETWORK_MASK).reference if NETWORK_MASK[0] in sentence else ""


def _clause(text: str) -> str:
    """Return a sentence as a part of another one: no full stop, no capital but that of names."""
    text = text.strip().rstrip(".").replace("R2star", "R2*").replace("T2star", "T2*")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _listed(items: Sequence[str]) -> str:
    """Return an enumeration with `and` before the last item."""
    return " and ".join((", ".join(items[:-1]), items[-1])) if len(items) > 1 else "".join(items)


def _maps(stored: StoredSet) -> list[StoredImage]:
    """Return the maps of a set, without what belongs to each of them."""
    own = stored.name.entities.get("desc", "")
    return [
        image
        for image in stored.images
        if image.condition is not Condition.MISSING
        and image.desc == own
        and image.name.suffix not in ("dseg", "mask", "fieldmap")
    ]


def _named(image: StoredImage) -> str:
    """Return the symbol of a map, with its name before it unless every reader knows the symbol."""
    kind = quantity(image.name.suffix)
    words = kind.words.partition(",")[0]
    return f"{words} ({kind.symbol})" if words and not kind.relaxation else kind.symbol


def _units(maps: Sequence[StoredImage]) -> list[str]:
    """Return the sentence on units, each unit once; nothing for ratios alone."""
    symbols: dict[str, list[str]] = {}
    for item in maps:
        if unit := unit_shown(item.unit):
            symbols.setdefault(UNITS.get(unit, unit), []).append(quantity(item.name.suffix).symbol)
    units = [f"{unit} ({_listed(names)})" for unit, names in symbols.items()]
    return [f"Maps are in {_listed(units)}."] if units else []


def _acquired(stored: StoredSet) -> str:
    """Return the sentence on field strength and acquisition parameters; nothing if they are not known."""
    head, rows = protocol_table(stored)
    if not rows:
        return ""
    field = stored.fields.get("MagneticFieldStrength")
    at = f" at {_told(field)} T" if field is not None else ""
    if head[0] == "image":
        images = [f"{row[0]} ({_parameters(head[1:], [row[1:]])})" for row in rows]
        return f"Images were acquired{at}: {_listed(images)}."
    cells = [row[1:] for row in rows]
    return f"Images were acquired{at} ({len(rows)} volumes; {_parameters(head[1:], cells)})."


def _parameters(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return acquisition parameters with their units, each value once: `TI = 50, 500 ms; TR = 10000 ms`."""
    texts = []
    for place, title in enumerate(head):
        values = list(dict.fromkeys(row[place] for row in rows if row[place] != "–"))
        if not values:
            continue
        name, _, unit = title.rstrip("]").partition(" [")
        after = {"": "", "°": "°"}.get(unit, f" {unit}")
        texts.append(
            ", ".join(values) if name == "readout" and not unit else f"{name} = {', '.join(values)}{after}"
        )
    return "; ".join(texts)


def _weights(own: Mapping[str, object]) -> str:
    """Return name, version and SHA-256 of the weights, as far as the sidecar has them."""
    settings = own.get("Settings")
    weights = settings.get("Weights") if isinstance(settings, Mapping) else None
    if isinstance(weights, str) and isinstance(settings, Mapping):
        weights = {"Name": weights, **{key.removeprefix("Weights"): settings[key] for key in settings}}
    if not isinstance(weights, Mapping) or "Name" not in weights:
        return ""
    parts = [f"weights {_told(weights['Name'])}"]
    if "Version" in weights:
        parts.append(f"version {_told(weights['Version'])}")
    if "SHA256" in weights:
        parts.append(f"SHA-256 {_told(weights['SHA256'])[:N_DIGITS]}")
    return f" ({', '.join(parts)})"


def citations(sets: Sequence[StoredSet]) -> list[str]:
    """Return what to cite for all sets, each once: the program, the methods, the colours, the format."""
    versions = dict.fromkeys(_told(item.own["Version"]) for item in sets if "Version" in item.own)
    programs = [PROGRAM_CITED.format(version=version) for version in versions]
    result = [
        text
        for item in sets
        for text in (str(item.fields.get("EstimationReference", "")).strip(), _mask_reference(item.own))
    ]
    return [*programs, *dict.fromkeys(item for item in result if item), *COLOURS_CITED, BIDS_CITED]


def sources(stored: StoredSet) -> list[str]:
    """Return what a set was made from."""
    listed = stored.fields.get("Sources")
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
