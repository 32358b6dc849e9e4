"""One subject on one page: every set of maps, its quality and limitations, its methods and its inputs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from markupsafe import Markup

from unweight.bids.derivatives.stored import StoredSubject, stored_subject
from unweight.core.maps import VoxelStatus
from unweight.core.text import NaturalKey, natural_key, printable
from unweight.files.atomic import write_bytes_atomic
from unweight.report import methods
from unweight.report.charts import colour_bar, histogram, number, shares
from unweight.report.document import (
    data_url,
    figure_of,
    niivue,
    niivue_terms,
    packaged,
    render,
    shared_viewer,
)
from unweight.report.measured import Measured, measured_in
from unweight.report.packed import STATUS_GAP, PackedMap, pack
from unweight.report.segmentation import segmentations
from unweight.report.shown_set import Layer, ShownMap, ShownSet, show_set
from unweight.report.slice_pictures import face, picture
from unweight.report.trust import (
    caveats,
    pipeline_of,
    place_of,
    quality_label,
    status_class,
    status_name,
    status_rows,
    title_of,
    trained_on,
)

LARGEST_PAGE = 25_000_000  # bytes
MOST_FACES = 5
DIFFERENCES = ("χ",)  # maps around zero, for which per cent has no meaning


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """What a page is made of.

    Attributes:
        subject: What the folder holds.
        sets: Its sets, in the order of the page.
        tables: Tables beside the maps.
    """

    subject: StoredSubject
    sets: tuple[ShownSet, ...]
    tables: tuple[Measured, ...]


def write_subject_page(out_dir: Path, label: str, *, shared_assets: bool = False) -> Path:
    """Write the page of a subject into the folder of its derivatives; return where it is.

    Args:
        out_dir: The folder.
        label: Of the subject, without `sub-`.
        shared_assets: Whether the script of the viewer is a file beside the page, which all pages of the
            folder share; else the page is whole in one file.

    Raises:
        InputError: There is no such subject.
        OutputError: It could not be written.
    """
    path = out_dir / f"sub-{label}.html"
    page = subject_page(out_dir, label, shared_assets=shared_assets)
    if shared_assets:
        name, content = shared_viewer()
        if not (out_dir / name).is_file():  # its name tells its content
            write_bytes_atomic(out_dir / name, content)
    write_bytes_atomic(path, page)
    return path


def subject_page(out_dir: Path, label: str, *, shared_assets: bool = False) -> bytes:
    """Return the page of a subject: the same bytes for the same derivatives.

    Args:
        out_dir: Folder of derivatives.
        label: Of the subject, without `sub-`.
        shared_assets: Whether the page expects the viewer in a file beside it.

    Raises:
        InputError: There is no such subject.
    """
    subject = stored_subject(out_dir, label)
    displayed = sorted((show_set(item) for item in subject.sets), key=_place)
    tables = [measured_in(path) for path in subject.tables]
    contents = Contents(
        subject=subject, sets=tuple(displayed), tables=tuple(table for table in tables if table is not None)
    )
    content = _content(contents)
    shared = shared_viewer()[0] if shared_assets else ""
    packed = pack(displayed, LARGEST_PAGE - len(_rendered(content, (), shared)))
    return _rendered(content, [item for of_set in packed for item in of_set], shared)


def _place(map_set: ShownSet) -> tuple[NaturalKey, tuple[int, int], NaturalKey]:
    return (
        natural_key(map_set.stored.name.entities.get("ses", "")),
        place_of(map_set),
        natural_key(map_set.stored.sidecar.name),
    )


def _content(contents: Contents) -> Mapping[str, object]:
    """Return all of the page but the volumes."""
    label, displayed = contents.subject.label, contents.sets
    firsts = [sum(len(item.maps) for item in displayed[:place]) for place in range(len(displayed))]
    problems = [f"{problem}." for problem in contents.subject.problems]
    if not displayed and not contents.subject.segmentations:
        problems.append("No set of maps of this subject was found, or no sidecar could be read.")
    regions = [_table(table) for table in contents.tables if table.kind == "regions"]
    sections = [(f"set{place + 1}", _short(item)) for place, item in enumerate(displayed)]
    segmented = segmentations(contents.subject)
    sections += [("segmentation", "Segmentation")] * bool(segmented)
    sections += [("tables", "Regions")] * bool(regions) + [("cite", "Cite")] * bool(displayed)
    return {
        "title": f"sub-{label}",
        "mark": f"unweight · sub-{label}",
        "lead": _lead(displayed),
        "sections": sections,
        "faces": _faces(displayed),
        "problems": problems,
        "sets": [_set(contents, place, firsts[place]) for place in range(len(displayed))],
        "segmentations": segmented,
        "regions": regions,
        "citations": methods.citations([item.stored for item in displayed]),
        "licence": niivue_terms(),
    }


def _rendered(content: Mapping[str, object], packed: Sequence[PackedMap], shared: str = "") -> bytes:
    info = {
        "maps": [item.content for item in packed],
        "gap": STATUS_GAP,
        "differences": DIFFERENCES,
        "statuses": [
            {
                "name": status_name(item),
                "meaning": item.meaning,
                "failed": item.failed,
                "kind": status_class(item),
            }
            for item in VoxelStatus
        ],
    }
    remarks = dict(enumerate(item.remark for item in packed))
    return render(
        "subject.html",
        {**content, "volumes": _script_json(info), "remarks": remarks},
        scripts=(packaged("viewer.js"),) if shared else (niivue(), packaged("viewer.js")),
        shared=shared,
    )


def _printable(value: object) -> object:
    """Return plain values with what cannot be printed escaped."""
    if isinstance(value, Mapping):
        return {key: _printable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def _script_json(value: object) -> Markup:
    """Return JSON that cannot leave the script element it stands in."""
    text = json.dumps(_printable(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for mark, code in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(mark, code)
    return Markup(text)


def _lead(map_set: Sequence[ShownSet]) -> str:
    kinds = list(dict.fromkeys(title_of(item) for item in map_set if item.maps))
    if not kinds:
        return "No maps can be displayed."
    sessions = {item.stored.name.entities.get("ses", "") for item in map_set}
    visits = f", {len(sessions)} sessions" if len(sessions) > 1 else ""
    return "; ".join(kinds) + visits + "."


def _label(map_set: ShownSet) -> str:
    entities = map_set.stored.name.entities
    return " ".join(f"{key}-{entities[key]}" for key in entities if key not in ("sub", "desc"))


def _short(map_set: ShownSet) -> str:
    pipeline = pipeline_of(map_set)
    name = title_of(map_set) if pipeline is None else pipeline.short or pipeline.title
    label = _label(map_set)
    return name + (f" ({label})" if label else "")


def _faces(map_set: Sequence[ShownSet]) -> list[dict[str, str]]:
    """Return one slice of what matters most: each kind of first map once, and T2 beside T1."""
    chosen: dict[str, tuple[ShownSet, ShownMap]] = {}
    for item in map_set:
        pipeline = pipeline_of(item)
        for which in item.maps[: 1 if pipeline is None else pipeline.n_faces]:
            text = " (synthetic)" if pipeline is not None and pipeline.synthetic else ""
            chosen.setdefault(f"{which.quantity.symbol}{text}", (item, which))
    return [
        {"title": title, "picture": data_url("image/png", face(entry, which.value))}
        for title, (entry, which) in list(chosen.items())[:MOST_FACES]
    ]


def _set(contents: Contents, place: int, first: int) -> Mapping[str, object]:
    displayed = contents.sets[place]
    stored, pipeline = displayed.stored, pipeline_of(displayed)
    usable, suspect, failed = displayed.shares
    text = f"{100 * usable:.1f} % usable, {100 * suspect:.1f} % suspect, {100 * failed:.1f} % failed"
    bar = shares([("good", usable), ("doubt", suspect), ("bad", failed)], text) if displayed.inside else ""
    return {
        "anchor": f"set{place + 1}",
        "title": title_of(displayed),
        "label": _label(displayed),
        "made": pipeline is not None and pipeline.synthetic,
        "algorithm": str(stored.fields.get("EstimationAlgorithm", "")),
        "verdict": quality_label(displayed),
        "main": _main(displayed),
        "share": bar,
        "problems": displayed.problems,
        "maps": [_map(displayed, index, first + index) for index in range(len(displayed.maps))],
        "tables": [_table(table, contents) for table in contents.tables if _belongs(table, displayed)],
        "status": status_rows(displayed),
        "doubts": caveats(displayed),
        "protocol": methods.protocol_table(stored),
        "facts": methods.facts(displayed),
        "trained": trained_on(stored.own),
        "sentences": methods.methods_paragraph(stored),
        "version": str(stored.own.get("Version", "unknown")),
        "images": [
            {"name": image.path.name, "sha256": image.sha256, "state": image.condition.value}
            for image in stored.images
        ],
        "sources": methods.sources(stored),
    }


def _main(map_set: ShownSet) -> dict[str, str] | None:
    if not map_set.maps:
        return None
    first = map_set.maps[0]
    values = first.value.at(map_set.status == int(VoxelStatus.OK))
    middle = float(np.median(values)) if values.size else float("nan")
    return {"symbol": first.quantity.symbol, "median": number(middle), "unit": first.value.unit}


def _map(map_set: ShownSet, index: int, place: int) -> Mapping[str, object]:
    item = map_set.maps[index]
    layers = [item.value, item.sd, map_set.misfit if index == 0 else None]
    return {
        "number": place,
        "symbol": item.quantity.symbol,
        "words": item.quantity.words,
        "description": "" if item.description.lower() == item.quantity.words else item.description,
        "panes": [
            {
                "title": layer.title,
                "unit": layer.unit,
                "picture": data_url("image/png", picture(map_set, layer)),
                "bar": colour_bar(layer, f"bar{place}-{number_of}"),
            }
            for number_of, layer in enumerate(layers)
            if layer is not None
        ],
        "histogram": _histogram(map_set, item.value),
        "table": _statistics(map_set, item),
    }


def _histogram(map_set: ShownSet, layer: Layer) -> Markup:
    low, high = layer.window
    label = f"Histogram of {layer.title} over usable voxels, {number(low)} to {number(high)}"
    chart = histogram(layer.at(map_set.status == int(VoxelStatus.OK)), low, high, label)
    caption = Markup("<figcaption>{} of usable voxels{}</figcaption>").format(
        layer.title, f" [{layer.unit}]" if layer.unit else ""
    )
    return Markup('<figure class="chart">{}{}</figure>').format(caption, chart)


def _statistics(map_set: ShownSet, item: ShownMap) -> Markup:
    usable = map_set.status == int(VoxelStatus.OK)
    rows = []
    for layer in (item.value, item.sd):
        if layer is None:
            continue
        values = layer.at(usable)
        cells = [float("nan")] * 5
        if values.size:
            cells = [float(cell) for cell in np.quantile(values, (0.02, 0.25, 0.5, 0.75, 0.98))]
        numbers = Markup("").join(Markup('<td class="num">{}</td>').format(number(cell)) for cell in cells)
        unit = f" [{layer.unit}]" if layer.unit else ""
        rows.append(Markup('<tr><th scope="row">{}{}</th>{}</tr>').format(layer.title, unit, numbers))
    head = Markup("").join(
        Markup('<th class="num">{}</th>').format(name) for name in ("2 %", "25 %", "median", "75 %", "98 %")
    )
    return Markup(
        '<div class="scroll"><table class="stats"><thead><tr><th>quantiles</th>{}</tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(head, Markup("").join(rows))


def _belongs(table: Measured, map_set: ShownSet) -> bool:
    """Whether a table of spheres was measured in these maps."""
    entities = {key: label for key, label in table.entities.items() if key != "desc"}
    own = {key: label for key, label in map_set.stored.name.entities.items() if key != "desc"}
    return (
        table.kind == "phantom"
        and entities == own
        and map_set.stored.name.suffix == "T1map"
        and table.path.parent == map_set.stored.sidecar.parent
    )


def _table(table: Measured, contents: Contents | None = None) -> dict[str, object]:
    drawn = None if contents is None else figure_of(table.path, contents.subject.label)
    title = "Spheres of the system phantom" if table.kind == "phantom" else table.path.name
    return {"title": title, "columns": table.columns, "rows": table.rows, "picture": drawn}
