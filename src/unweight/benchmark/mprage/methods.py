"""The methods that synthesise T1w images, by name, and the segmenters that measure structures in them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from unweight.benchmark.mprage.records import SegmentFn, SynthesisFn
from unweight.benchmark.mprage.scores import ALONE, BOTH, WITH_CHI, WITH_R2STAR
from unweight.core.errors import InputError, UsageError
from unweight.learn.mprage.methods import load_synthesiser
from unweight.learn.mprage.synthesis import Synthesiser
from unweight.learn.pairs.echo_channels import EVERYTHING, Conditions
from unweight.learn.pairs.pair import Pair
from unweight.learn.pairs.pair_data import features_of
from unweight.learn.pairs.planes import Planes
from unweight.learn.segmentation.structures import find_structures
from unweight.learn.training.trainable import load_network
from unweight.learn.training.weights import available, load_weights
from unweight.prepare.segmenters import FastSurfer, Segmenter, SynthSeg, segment
from unweight.registry import compared

STRUCTURES, BASE = "structures", "mprage-unet"
WEIGHTS = {item.name: item.weights for item in compared("mprage")}
ABLATED = "unet"
CONDITIONS = {
    ALONE: Conditions(r2star=False, chi=False),
    WITH_R2STAR: Conditions(r2star=True, chi=False),
    WITH_CHI: Conditions(r2star=False, chi=True),
    BOTH: EVERYTHING,
}
DRAWN = "fastddpm"  # one draw, as published
DRAWN_METHODS = {"fastddpm axial": (Planes.AXIAL, 1)}
EXTERNAL: dict[str, type[Segmenter]] = {"synthseg": SynthSeg, "fastsurfer": FastSurfer}


def synthesis_methods(
    methods: Sequence[str] | None, folder: Path | None, device: torch.device, *, further: bool = True
) -> dict[str, SynthesisFn]:
    """Return what synthesises images, by name.

    Args:
        methods: Of `WEIGHTS`; None for all that there are weights for.
        folder: Of weights; None for those of the package.
        device: Where networks run.
        further: Also the U-Net without some conditions, and the Fast-DDPM in axial slices.

    Raises:
        InputError: There are no weights for a method that was asked for, or for any.
    """
    stored = available(folder)
    chosen = [name for name in WEIGHTS if WEIGHTS[name] in stored] if methods is None else list(methods)
    unknown = [name for name in chosen if name not in WEIGHTS]
    if unknown:
        raise UsageError(f"no methods: {', '.join(unknown)}", remedy=f"There are {', '.join(WEIGHTS)}.")
    if not chosen:
        raise InputError(
            "there are no weights for synthetic T1w images",
            remedy="Train them with `unweight train mprage`.",
        )
    functions: dict[str, SynthesisFn] = {}
    for name in chosen:
        n_draws = 1 if name == DRAWN else None
        synthesiser, _ = load_synthesiser(WEIGHTS[name], folder, device=device, n_draws=n_draws)
        functions[name] = synthesis_function(synthesiser)
        if further and name == ABLATED:
            for label, conditions in CONDITIONS.items():
                if conditions != EVERYTHING:
                    functions[ablation_name(label)] = synthesis_function(synthesiser, conditions)
        if further and name == DRAWN:
            for other, (planes, count) in DRAWN_METHODS.items():
                synthesiser, _ = load_synthesiser(
                    WEIGHTS[name], folder, device=device, planes=planes, n_draws=count
                )
                functions[other] = synthesis_function(synthesiser)
    return functions


def weights_of(method: str, folder: Path | None) -> str:
    """Return the SHA-256 of the weights that a method rests on."""
    names = [name for name in WEIGHTS if method == name or method.startswith((f"{name} ", f"{name}:"))]
    if not names:
        return ""
    digest = load_weights(WEIGHTS[names[0]], folder)[1].sha256
    base = load_weights(BASE, folder)[1].sha256 if names[0] == "residual" else ""
    return f"{digest}{base}"


def ablated(methods: Iterable[str]) -> dict[str, str]:
    """Return the name of the U-Net with each set of conditions; nothing if it is not among the methods."""
    return {label: ablation_name(label) for label in CONDITIONS} if ABLATED in methods else {}


def ablation_name(label: str) -> str:
    """Return the name of the U-Net that gets these conditions."""
    return ABLATED if label == BOTH else f"{ABLATED}: {label}"


def synthesis_function(synthesise: Synthesiser, conditions: Conditions = EVERYTHING) -> SynthesisFn:
    """Return what synthesises the image from a pair's echoes."""

    def of_pair(pair: Pair) -> Float[Tensor, "x y z"]:
        known = conditions._replace(scan=features_of(pair))
        return synthesise(pair.channels.float(), known).mean

    return of_pair


def own_segmenter(folder: Path | None, device: torch.device) -> SegmentFn:
    """Return the network that finds structures, trained on true simulated images only.

    Raises:
        InputError: There are no weights.
    """
    network, _ = load_network(STRUCTURES, folder)
    network = network.to(device)

    def find(image: Float[Tensor, "x y z"], mask: Bool[Tensor, "x y z"]) -> UInt8[Tensor, "x y z"]:
        share = find_structures(network, image.float(), mask.float())
        return (share.argmax(0) * mask).to(torch.uint8)

    return find


def external_segmenter(name: str, voxel_mm: tuple[float, float, float]) -> SegmentFn:
    """Return an installed program, for images on a grid without a turn.

    Args:
        name: Of `EXTERNAL`.
        voxel_mm: Size of a voxel [mm].
    """
    if name not in EXTERNAL:
        raise UsageError(f"no segmenter is called {name}", remedy=f"There are {', '.join(EXTERNAL)}.")
    program = EXTERNAL[name]()
    affine = torch.diag(torch.tensor([*voxel_mm, 1.0]))

    def find(image: Float[Tensor, "x y z"], mask: Bool[Tensor, "x y z"]) -> UInt8[Tensor, "x y z"]:
        return (segment(program, image, affine) * mask).to(torch.uint8)

    return find
