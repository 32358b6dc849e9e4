"""What a set of maps must not be believed to say, in plain words."""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import final

import numpy as np

from unweight.core.maps import CHI_SQUARE, PHASE_RESIDUAL, RMS_OF_LOG, VoxelStatus
from unweight.report.charts import number
from unweight.report.shown_set import ShownSet

RELIABLE, DOUBTFUL = 0.95, 0.8  # shares of usable voxels


@final
class Kind(Enum):
    """Which of the ways to maps a set comes from."""

    INVERSION = "T1 from inversion recovery"
    ROUTINE = "T1, T2 and PD from routine images"
    T1 = "T1"
    R2STAR = "R2* and T2*"
    T2 = "T2"
    CHI = "Magnetic susceptibility (QSM)"
    T1W = "T1w image, made and not measured"
    OTHER = "Maps"


ORDER = tuple(Kind)
CAVEATS = {
    Kind.INVERSION: (
        "T1 is that of one exponential; a short component, as in white matter, is neither found nor "
        "corrected.",
        "PD includes the sensitivity of the coils, so compare it within a neighbourhood, not across "
        "the head.",
    ),
    Kind.ROUTINE: (
        "Three images cannot tell everything: what tissue is like in most people is in every answer. "
        "Where tissue "
        "is unlike anything simulated, look at the misfit, and compare regions rather than believe a "
        "number.",
        "PD is relative: cerebrospinal fluid has 1. T2 of cerebrospinal fluid is hardly seen.",
    ),
    Kind.R2STAR: (
        "Where the field changes within a voxel (sinuses, ear canals, implants) signal is lost and "
        "R2* is too high.",
    ),
    Kind.T2: (
        "The echoes of a train are not pure T2: stimulated echoes make T2 too long by some per cent.",
    ),
    Kind.CHI: (
        "Susceptibility has no absolute zero; it is relative to the reference named above.",
        "Contrast of large structures comes out too small; compare a region between people, not "
        "tissues in one.",
        "The standard deviation is that of noise alone. Background removal and inversion make larger "
        "errors that "
        "no map shows, and the rim of the brain, a few voxels, is the least certain.",
    ),
    Kind.T1W: (
        "This image was made, not measured. What gradient echoes cannot show is what it is in most people.",
        "It is not for reading by a radiologist, nor for lesions, tumours, or iron and myelin far "
        "from normal.",
    ),
}
MISFIT_WORDS = {
    CHI_SQUARE: "1 is what noise explains; much more means the model does not fit",
    RMS_OF_LOG: "0.1: the images made again from the maps differ from the real ones by about 10 %",
    PHASE_RESIDUAL: "how far the phase strays from a line in echo time",
}
COLOURS = {"good": "usable", "doubt": "has a value, not to be trusted as it is", "bad": "no value"}


def kind_of(shown: ShownSet) -> Kind:
    """Return which way a set comes from, by the images it lists."""
    suffixes = {image.name.suffix for image in shown.stored.images}
    first = shown.stored.name.suffix
    if first == "T1map":
        return Kind.INVERSION if "IEmap" in suffixes else Kind.ROUTINE if "T2map" in suffixes else Kind.T1
    by_suffix = {"R2starmap": Kind.R2STAR, "T2map": Kind.T2, "Chimap": Kind.CHI, "T1w": Kind.T1W}
    return by_suffix.get(first, Kind.OTHER)


def verdict(shown: ShownSet) -> tuple[str, str]:
    """Return the class of the colour and the words for a set as a whole."""
    if not shown.maps:
        return "bad", "cannot be shown"
    usable = shown.shares[0]
    if shown.problems:
        return "bad", "incomplete"
    words = f"{100 * usable:.1f} % usable"
    return ("good" if usable >= RELIABLE else "doubt" if usable >= DOUBTFUL else "bad"), words


def status_rows(shown: ShownSet) -> list[dict[str, object]]:
    """Return what became of the voxels with signal, and how many lie outside."""
    rows: list[dict[str, object]] = []
    for status, count in shown.counts.items():
        outside = status in (VoxelStatus.MASKED, VoxelStatus.NO_SIGNAL)
        share = "" if outside else _share(count / max(1, shown.inside)).lower()
        rows.append(
            {
                "kind": "none" if outside else status_class(status),
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


def doubts(shown: ShownSet) -> list[str]:
    """Return sentences on what not to believe and why, the particular before the general."""
    return [*_of_voxels(shown), *_of_misfit(shown), *_of_method(shown), *CAVEATS.get(kind_of(shown), ())]


def _of_voxels(shown: ShownSet) -> Iterator[str]:
    usable, suspect, failed = shown.shares
    if suspect:
        reasons = [status for status in shown.counts if status.suspect]
        told = "; ".join(f"{status_name(status)}: {status.meaning}" for status in reasons)
        yield f"{_share(suspect)} of the voxels with signal have a value not to be believed ({told})."
    if failed:
        reasons = [
            status
            for status in shown.counts
            if status.failed
            and status_class(status) == "bad"
            and status not in (VoxelStatus.MASKED, VoxelStatus.NO_SIGNAL)
        ]
        told = "; ".join(
            f"{status_name(status)}: {status.meaning.removesuffix('; no value')}" for status in reasons
        )
        yield f"{_share(failed)} have no value ({told})."
    if usable and not suspect and not failed:
        yield "No voxel was set aside by the checks of the method; they do not see every error."


def _of_misfit(shown: ShownSet) -> Iterator[str]:
    if shown.misfit is None:
        return
    values = shown.misfit.at(shown.status == int(VoxelStatus.OK))
    if values.size:
        low, middle, high = (number(float(one)) for one in np.quantile(values, (0.25, 0.5, 0.75)))
        words = MISFIT_WORDS.get(shown.misfit_meaning, "")
        told = f" ({words})" if words else ""
        yield f"Misfit of usable voxels: median {middle}, quartiles {low} to {high}{told}."


def _of_method(shown: ShownSet) -> Iterator[str]:
    own = shown.stored.own
    remarks = own.get("Remarks")
    for remark in remarks if isinstance(remarks, list) else []:
        text = str(remark).strip()
        yield text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
    trained = trained_on(own)
    if trained:
        yield (
            "A network made these maps. It was trained on simulated images alone: what simulations "
            "do not know "
            "(flow, fat shift, artefacts, rare disease) it has never seen."
            if "simulated" in trained.lower()
            else "A network made these maps; see what it was trained on."
        )
    if isinstance(own.get("IntervalLevel"), float):
        yield (
            f"The {100 * float(str(own['IntervalLevel'])):.0f} % intervals hold on average over "
            f"voxels like those "
            "simulated, not in each one."
        )


def trained_on(own: Mapping[str, object]) -> str:
    """Return what the weights of a set were trained on; nothing if no weights are named."""
    settings = own.get("Settings")
    if not isinstance(settings, Mapping):
        return ""
    weights = settings.get("Weights")
    told = weights.get("TrainedOn") if isinstance(weights, Mapping) else settings.get("TrainedOn")
    if isinstance(told, str):
        return told
    return "simulated images" if settings.get("Method") in LEARNED else ""


LEARNED = ("embedding", "no-embedding", "unet", "pgan")  # whose settings name no weights


def _share(share: float) -> str:
    return f"{100 * share:.2f} %" if share >= 1e-4 else "Less than 0.01 %"
