"""The card of freshly trained weights: what they are for, what they saw, where they must not be trusted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from unweight.learn.t1.protocol_range import ProtocolRange
from unweight.learn.t1.slabs import ANY_INVERSIONS, SlabRecipe
from unweight.learn.training.model_card import NOT_A_MEDICAL_DEVICE, Card
from unweight.learn.training.recipe import (
    DIFFUSOR,
    FROM_FITS,
    FROM_WEIGHTED,
    POSTERIOR,
    RESIDUAL,
    RESNET,
    RIM,
    Recipe,
)
from unweight.learn.weighted.model_card_text import MAPS_LIMITS, MAPS_SUMMARIES, MAPS_USE, maps_trained_on
from unweight.learn.weighted.protocol_range import trained_range
from unweight.learn.weighted.slabs import WeightedSlabRecipe

SUMMARIES: Mapping[str, str] = {
    POSTERIOR: (
        "T1, PD and inversion efficiency with 90 % intervals from inversion recovery with any inversion "
        "times: a U-Net corrects the maximum-likelihood fit of each voxel by what its neighbours say."
    ),
    RESIDUAL: (
        "Draws of T1, PD and inversion efficiency maps around the posterior, whose errors go together as "
        "those of neighbours do: few-step diffusion of the whitened residual, for how sure regions are."
    ),
    RESNET: "T1, PD and inversion efficiency from weighted images by a residual network, as published.",
    RIM: "T1, PD and inversion efficiency by a recurrent inference machine, as published.",
    DIFFUSOR: "Draws of T1, PD and inversion efficiency by conditional diffusion (qMRI Diffusor).",
    **MAPS_SUMMARIES,
}
USE = "Quantitative maps of the brain and of phantoms from magnitude inversion recovery, for research. "
SIMULATED = (
    "Trained on simulated images alone: what the simulation does not know (flow, fat shift, artefacts of "
    "reconstruction, coils that move) it has never seen. "
)
PUBLISHED = (
    "It knows one set of inversion times and one repetition time, and T1 of normal brain tissue; its loss "
    "and its scaling give little weight to short T1, which are poor. What it sees depends on the field of "
    "view, by which intensities are scaled. It is a baseline to compare with. "
)
OWN = (
    "Intervals hold on average over voxels like those simulated, not for each voxel. Where neighbours are "
    "unlike, as in a structure of one voxel, the fit is the safer answer. "
)


@final
@dataclass(frozen=True, kw_only=True)
class Seen:
    """What went into a training.

    Attributes:
        train: Subjects whose heads were cut into slabs.
        validation: Subjects for validation and calibration.
        n_train: Slabs of the training, over all processes.
        n_validation: Slabs on which it was scored.
        n_calibration: Slabs on which its error bars were found.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    n_train: int
    n_validation: int
    n_calibration: int


def card_of(
    recipe: Recipe,
    seen: Seen,
    *,
    calibration: Mapping[str, Any],
    metrics: Mapping[str, float],
    seconds: float,
    precision: str = "",
) -> Card:
    """Return the card of weights."""
    weighted = recipe.method in FROM_WEIGHTED
    special = MAPS_LIMITS if weighted else OWN if recipe.method in FROM_FITS else PUBLISHED
    return Card(
        name=recipe.method,
        version=1,
        summary=SUMMARIES[recipe.method],
        intended_use=f"{MAPS_USE if weighted else USE}{NOT_A_MEDICAL_DEVICE}",
        limits=f"{special}{SIMULATED}{NOT_A_MEDICAL_DEVICE}",
        preset=recipe.preset,
        trained_on=trained_on(recipe, seen),
        seed=recipe.seed,
        recipe=recipe.to_plain(),
        ranges=ranges_of(recipe),
        calibration=calibration,
        metrics=metrics,
        seconds=round(seconds, 3),
        precision=precision,
    )


def ranges_of(recipe: Recipe) -> dict[str, tuple[float, float]]:
    """Return what the network accepts: a range of protocols, or the TR of its one protocol."""
    if recipe.method in FROM_WEIGHTED:
        return trained_range().to_plain()
    times, repetition = recipe.series.inversion_times, (recipe.series.repetition_time,) * 2
    if recipe.method not in FROM_FITS:
        return {"repetition_time": repetition}
    if times:
        count = float(len(times))
        own = ProtocolRange(
            n_inversions=(count, count),
            shortest=(min(times),) * 2,
            longest=(max(times),) * 2,
            repetition_time=repetition,
            snr=recipe.series.snr,
        )
        return own.to_plain()
    prior = ANY_INVERSIONS
    fewest, most = prior.n_inversions
    return ProtocolRange(
        n_inversions=(float(fewest), float(most)),
        shortest=prior.shortest,
        longest=prior.longest,
        repetition_time=prior.repetition_time,
        snr=recipe.series.snr,
    ).to_plain()


def trained_on(recipe: Recipe, seen: Seen) -> str:
    """Return what the training data were, in words."""
    held = f"Scored on {seen.n_validation} other slabs of {_heads(seen.validation)}"
    if seen.n_calibration:
        held += f", error bars found on {seen.n_calibration} more of the same heads"
    weighted = recipe.slabs if isinstance(recipe.slabs, WeightedSlabRecipe) else None
    slabs = recipe.series if weighted is None else SlabRecipe()
    size = slabs.size if weighted is None else weighted.size
    first = f"{seen.n_train} simulated slabs of {size} x {size} voxels of 1 mm, from {_heads(seen.train)}"
    if weighted is not None:
        return ". ".join((first, *maps_trained_on(weighted), held)) + "."
    sentences = (
        first,
        _mixture(slabs),
        f"Tissue: normal in {_percent(slabs.tissue)} of subjects, white matter as one exponential; any T1 "
        "anywhere in the others",
        _protocols(slabs),
        f"Rician noise, brightest volume over noise {slabs.snr[0]:g} to {slabs.snr[1]:g}; heads move "
        f"between volumes with a probability of {_percent(slabs.moving)}",
        held,
    )
    return ". ".join(sentence for sentence in sentences if sentence) + "."


def _mixture(slabs: SlabRecipe) -> str:
    parts = []
    if slabs.shapes:
        parts.append(f"{_percent(slabs.shapes)} of the rest are shapes of random material instead of heads")
    if slabs.specks:
        parts.append("half of the heads are strewn with specks of random material")
    if slabs.scattered:
        parts.insert(0, f"{_percent(slabs.scattered)} are scattered voxels that know nothing of each other")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def _protocols(slabs: SlabRecipe) -> str:
    late = f"; in two of five slabs told wrong by up to {1e3 * slabs.late:g} ms" if slabs.late else ""
    if slabs.inversion_times:
        times = ", ".join(f"{ti:g}" for ti in slabs.inversion_times)
        return f"Inversion times {times} s, repetition time {slabs.repetition_time:g} s{late}"
    prior = ANY_INVERSIONS
    return (
        f"Protocols: {prior.n_inversions[0]} to {prior.n_inversions[1]} inversion times, the shortest "
        f"{prior.shortest[0]:g} to {prior.shortest[1]:g} s, the longest {prior.longest[0]:g} to "
        f"{prior.longest[1]:g} s, repetition time {prior.repetition_time[0]:g} to "
        f"{prior.repetition_time[1]:g} s; in {_percent(slabs.published)} the seven inversions of Wang et "
        f"al. (arXiv 2407.16477){late}"
    )


def _heads(names: tuple[str, ...]) -> str:
    return f"{len(names)} head{'s' if len(names) != 1 else ''} ({', '.join(names)})" if names else "no head"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
