"""The card of networks that learn from pairs of echoes and T1w: what they are for, and what they saw."""

from collections.abc import Mapping
from typing import Any

from unweight.learn.mprage.pair import Pair
from unweight.learn.training.model_card import NOT_A_MEDICAL_DEVICE, Card
from unweight.learn.training.recipe import STRUCTURES, T1W, T1W_FAST, T1W_GAN, T1W_UNET, Recipe

SUMMARIES: Mapping[str, str] = {
    T1W: (
        "A T1w (MPRAGE) image from multi-echo gradient echo: what a regression leaves, by diffusion in few "
        "steps. Needs the weights mprage-unet."
    ),
    T1W_UNET: "A T1w (MPRAGE) image from multi-echo gradient echo by a U-Net, with the scale of its error.",
    T1W_GAN: "A T1w (MPRAGE) image from multi-echo gradient echo by a conditional GAN.",
    T1W_FAST: "Draws of a T1w (MPRAGE) image from multi-echo gradient echo by a conditional Fast-DDPM.",
    STRUCTURES: "Structures of the brain in T1w images, to judge images by.",
}
USE = "T1-weighted images of the brain from gradient echoes at 3 T, for research. "
JUDGE = "Comparing images of the same people made in different ways, for research. "
LIMITS = (
    "Gradient echoes of one flip angle hold T1 only mixed with proton density: what tissue is like in most "
    "people is part of every image, and a lesion may be shown as what is common in its place. "
)
SIMULATED = (
    "Trained on simulated people alone: motion, flow, artefacts, lesions, the orientation of fibres and "
    "real cortex it has never seen. "
)
GIVEN = "Trained on images that users gave; how well it does for others nobody knows. "


def pair_card(
    recipe: Recipe,
    train: tuple[Pair, ...],
    validation: tuple[Pair, ...],
    *,
    calibration: Mapping[str, Any],
    metrics: Mapping[str, float],
) -> Card:
    """Return the card of weights; the time of the training is not in it yet."""
    simulated = all("true_ml" in one.about for one in train)
    limits = "" if recipe.method == STRUCTURES else LIMITS
    return Card(
        name=recipe.method,
        version=1,
        summary=SUMMARIES[recipe.method],
        intended_use=f"{JUDGE if recipe.method == STRUCTURES else USE}{NOT_A_MEDICAL_DEVICE}",
        limits=f"{limits}{SIMULATED if simulated else GIVEN}{NOT_A_MEDICAL_DEVICE}",
        preset=recipe.preset,
        trained_on=_trained_on(recipe, train, validation, simulated=simulated),
        seed=recipe.seed,
        recipe=recipe.to_plain(),
        ranges={"voxel_mm": _sizes(train)},
        calibration=calibration,
        metrics=metrics,
        seconds=0.0,
    )


def _trained_on(
    recipe: Recipe, train: tuple[Pair, ...], validation: tuple[Pair, ...], *, simulated: bool
) -> str:
    low, high = _sizes(train)
    sizes = f"{low:g} mm" if high - low < 1e-3 else f"{low:g} to {high:g} mm"
    if not simulated:
        return f"{len(train)} subjects, voxels of {sizes}; scored on {len(validation)} others."
    cohort = recipe.cohort
    heads = sorted({str(one.about["head"]) for one in train})
    ages = [float(str(one.about["age"])) for one in train]
    return (
        f"{len(train)} simulated people of {min(ages):.0f} to {max(ages):.0f} years, with the shapes of "
        f"{len(heads)} heads ({', '.join(heads)}), voxels of {sizes}. Gradient echoes at 3 T, brightest "
        f"tissue {cohort.snr[0]:g} to {cohort.snr[1]:g} times the noise; {100 * cohort.published:g} % have "
        "eight echoes of 4 to 32 ms, TR 36 ms, 15 degrees, the others 4 to 8 echoes from 3 to 7 ms on, 3.5 "
        "to 6.5 ms apart, 10 to 20 degrees. MPRAGE with TR 2.3 s, TI 0.9 s, 9 degrees. T1, T2*, and "
        f"susceptibility go together only in part. Scored and calibrated on {len(validation)} other "
        "people, of other heads."
    )


def _sizes(pairs: tuple[Pair, ...]) -> tuple[float, float]:
    sizes = [size for pair in pairs for size in pair.voxel_mm]
    return min(sizes), max(sizes)
