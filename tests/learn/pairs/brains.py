"""Tiny brains of noise to learn from, made in no time."""

from functools import cache

import torch

from unweight.core.seeding import seeded_generator
from unweight.learn.pairs.echo_channels import LEVEL, MASK, N_CHANNELS
from unweight.learn.pairs.pair import Pair, half
from unweight.learn.pairs.scan_range import plain_scan
from unweight.synth.protocols.standard import eight_echoes

SHAPE = (16, 18, 20)
SCANNED = plain_scan(eight_echoes().protocol)
ABOUT: dict[str, object] = {
    "age": 50.0,
    "head": "procedural",
    "true_ml": {"caudate": 7.0},
    "scan": SCANNED,
}


@cache
def pair(name: str) -> Pair:
    """A T1w image that is a line in LEVEL and some noise; labels by its intensity."""
    generator = seeded_generator(0, name)
    axes = torch.meshgrid(*(torch.linspace(-1.2, 1.2, size) for size in SHAPE), indexing="ij")
    mask = sum(one**2 for one in axes) < 1
    channels = 0.5 * torch.randn(N_CHANNELS, *SHAPE, generator=generator) * mask
    channels[MASK] = mask
    noise = 0.05 * torch.randn(SHAPE, generator=generator)
    target = (0.8 + 0.2 * channels[LEVEL] + noise).clamp(0, 2) * mask
    labels = (1 + 7 * (target / 2).clamp(0, 0.99)).floor() * mask
    return Pair(
        channels=half(channels),
        target=half(target),
        labels=labels.to(torch.uint8),
        voxel_mm=(1.0, 1.5, 1.5),
        name=name,
        about=ABOUT,
    )
