"""Quality and limitations of a set of maps, in sentences."""

from collections.abc import Iterator, Mapping

from unweight.core.maps import CHI_SQUARE, EARLIER_CHI_SQUARE, PHASE_RESIDUAL, RMS_OF_LOG, VoxelStatus
from unweight.metrics.accuracy import quartiles
from unweight.registry import pipelines, trained_methods
from unweight.registry.records import Pipeline
from unweight.report.charts import number
from unweight.report.shown_set import ShownSet
from unweight.signals.parameters import T1

RELIABLE, DOUBTFUL = 0.95, 0.8  # shares of usable voxels


# Of sets that no pipeline writes: T1 maps without a second map, and whatever else lies there.
T1_ALONE, OTHER = "T1", "Maps"
OF_CHI_SQUARE = "about 1 if the residuals are noise; well above 1, the model does not fit"
MISFIT_WORDS = {
    CHI_SQUARE: OF_CHI_SQUARE,
    EARLIER_CHI_SQUARE: OF_CHI_SQUARE,
    RMS_OF_LOG: "0.1: the images synthesised from the maps differ from the real ones by about 10 %",
    PHASE_RESIDUAL: "residual of the linear fit of the phase over echo time, in rad",
}
COLOURS = {"good": "usable", "doubt": "suspect value", "bad": "no value"}


def pipeline_of(map_set: ShownSet) -> Pipeline | None:
    """Return the pipeline that writes such sets, by the images a set lists; None if there is none."""
    suffixes = {image.name.suffix for image in map_set.stored.images}
    for item in pipelines():
        if item.first[0] == map_set.stored.name.suffix and suffixes.issuperset(item.marks):
            return item
    return None


def title_of(map_set: ShownSet) -> str:
    """Return what a set is called on the page."""
    pipeline = pipeline_of(map_set)
    if pipeline is not None:
        return pipeline.title
    return T1_ALONE if map_set.stored.name.suffix == T1.suffix else OTHER


def place_of(map_set: ShownSet) -> tuple[int, int]:
    """Return the place of a set on the page, in the order of the pipelines.

    A set that none of them writes comes behind those with the same first map, or at the end.
    """
    pipeline = pipeline_of(map_set)
    if pipeline is not None:
        return pipelines().index(pipeline), 0
    same = [n for n, item in enumerate(pipelines()) if item.first[0] == map_set.stored.name.suffix]
    return max(same, default=len(pipelines())), 1


def quality_label(map_set: ShownSet) -> tuple[str, str]:
    """Return the class of the colour and the words for a set as a whole."""
    if not map_set.maps:
        return "bad", "cannot be displayed"
    usable = map_set.shares[0]
    if map_set.problems:
        return "bad", "incomplete"
    words = f"{100 * usable:.1f} % usable"
    return ("good" if usable >= RELIABLE else "doubt" if usable >= DOUBTFUL else "bad"), words


def status_rows(map_set: ShownSet) -> list[dict[str, object]]:
    """Return the status of the voxels with signal, and the number of voxels outside."""
    rows: list[dict[str, object]] = []
    for status, count in map_set.counts.items():
        share = "" if status.outside else _share(count / max(1, map_set.inside)).lower()
        rows.append(
            {
                "kind": "none" if status.outside else status_class(status),
                "name": status_name(status),
                "count": f"{count:,}",
                "share": share,
                "meaning": status.meaning,
            }
        )
    return rows


def status_name(status: VoxelStatus) -> str:
    """Return a status as people read it."""
    return status.name.lower().replace("_", " ") if status is not VoxelStatus.OK else "usable"


def status_class(status: VoxelStatus) -> str:
    """Return the class of the colour of a status."""
    return "good" if status is VoxelStatus.OK else "doubt" if status.suspect else "bad"


def caveats(map_set: ShownSet) -> list[str]:
    """Return sentences on quality and limitations, the particular before the general."""
    pipeline = pipeline_of(map_set)
    caveats = () if pipeline is None else pipeline.caveats
    return [*_of_voxels(map_set), *_of_misfit(map_set), *_of_method(map_set), *caveats]


def _of_voxels(map_set: ShownSet) -> Iterator[str]:
    usable, suspect, failed = map_set.shares
    if suspect:
        reasons = [status for status in map_set.counts if status.suspect]
        text = "; ".join(f"{status_name(status)}: {status.meaning}" for status in reasons)
        yield f"{_share(suspect)} of the voxels with signal have a suspect value ({text})."
    if failed:
        reasons = [
            status
            for status in map_set.counts
            if status.failed and status_class(status) == "bad" and not status.outside
        ]
        text = "; ".join(
            f"{status_name(status)}: {status.meaning.removesuffix('; no value')}" for status in reasons
        )
        yield f"{_share(failed)} of the voxels with signal have no value ({text})."
    if usable and not suspect and not failed:
        yield "No voxel was flagged by the checks of the method; the checks do not detect every error."


def _of_misfit(map_set: ShownSet) -> Iterator[str]:
    if map_set.misfit is None:
        return
    values = map_set.misfit.at(map_set.status == int(VoxelStatus.OK))
    if values.size:
        low, middle, high = (number(quartile) for quartile in quartiles(values))
        words = MISFIT_WORDS.get(map_set.misfit_meaning, "")
        text = f" ({words})" if words else ""
        yield f"Misfit of usable voxels: median {middle}, quartiles {low} to {high}{text}."


def _of_method(map_set: ShownSet) -> Iterator[str]:
    own = map_set.stored.own
    remarks = own.get("Remarks")
    for remark in remarks if isinstance(remarks, list) else []:
        text = str(remark).strip()
        yield text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
    trained = trained_on(own)
    if trained:
        yield (
            "These maps were estimated by a network trained on simulated images only; flow, chemical "
            "shift, artefacts and rare disease are not simulated."
            if "simulated" in trained.lower()
            else "These maps were estimated by a network; see its training data."
        )
    if isinstance(own.get("IntervalLevel"), float):
        yield (
            f"The {100 * float(str(own['IntervalLevel'])):.0f} % intervals have their nominal coverage on "
            "average over voxels like those simulated, not in each voxel."
        )


def trained_on(own: Mapping[str, object]) -> str:
    """Return what the weights of a set were trained on; nothing if no weights are named."""
    settings = own.get("Settings")
    if not isinstance(settings, Mapping):
        return ""
    weights = settings.get("Weights")
    value = weights.get("TrainedOn") if isinstance(weights, Mapping) else settings.get("TrainedOn")
    if isinstance(value, str):
        return value
    learned = {item.name for item in trained_methods()}
    return "simulated images" if settings.get("Method") in learned else ""


def _share(share: float) -> str:
    return f"{100 * share:.2f} %" if share >= 1e-4 else "Less than 0.01 %"
