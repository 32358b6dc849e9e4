"""The card of networks that make maps from weighted images: what they are for, and what they saw."""

from collections.abc import Mapping

from unweight.learn.training.recipe import MAPS, MAPS_PGAN, MAPS_UNET, MAPS_UNTOLD
from unweight.learn.weighted.slabs import WeightedSlabRecipe

MAPS_SUMMARIES: Mapping[str, str] = {
    MAPS: (
        "T1, T2 and relative PD with 90 % intervals from T1w, T2w and FLAIR of any timings: a U-Net that "
        "is told how each image was made, and what each voxel says by itself."
    ),
    MAPS_UNTOLD: "The network `maps` without what tells it how images were made: the ablation.",
    MAPS_UNET: "T1, T2 and relative PD from T1w, T2w and FLAIR by a plain U-Net that is told no timings.",
    MAPS_PGAN: "T1, T2 and relative PD from T1w, T2w and FLAIR by a conditional GAN, told no timings.",
}
MAPS_USE = "Quantitative maps of the brain from magnitude T1w, T2w and FLAIR, for research. "
MAPS_LIMITS = (
    "Three images of unknown gain do not determine three maps: what tissue is like in most people is part "
    "of every answer, and PD is relative to CSF. T2 of CSF is hardly seen at usual echo times. Intervals "
    "hold on average over voxels like those simulated, normal tissue, not for each voxel. Where the images "
    "cannot be explained by the maps, voxels are marked. "
)


def maps_trained_on(slabs: WeightedSlabRecipe) -> tuple[str, ...]:
    """Return what the training data were, in sentences without full stops."""

    def percent(share: float) -> str:
        return f"{100 * share:g} %"

    return (
        f"{percent(slabs.shapes)} are shapes of random material instead of heads; in {percent(slabs.far)} "
        "of heads T1, T2 and PD of all tissue but CSF are far from normal; there are no lesions",
        "Random TR, TE and TI at 1.5 and 3 T, T1w as spin echo, turbo spin echo or MPRAGE, but for the "
        "timings that are held out for the test",
        f"Rician noise, brightest intensity over noise {slabs.snr[0]:g} to {slabs.snr[1]:g}; smooth "
        f"receive sensitivity; one image of three is missing in {percent(slabs.missing)}",
        "What it is scored on, and its error bars are found on, are heads with normal tissue",
    )
