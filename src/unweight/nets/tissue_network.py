"""Classes of voxels from a mixture of Gaussians fitted to the image, corrected by a U-Net.

    logit_c = log π_c + log N(v; m_c, s_c) + a_c + b_c v + c_c v² + d_c w
    v = 2 (I − 0.7),   w = 2 (I₃ − 0.7)

with I the image and I₃ its mean over 3x3x3 voxels. The prior π_c comes from a small network that gets the
place in the brain only. Means m_c and variances s_c are those of the image at hand, by expectation
maximisation from π_c (J. Ashburner and K. J. Friston, Unified segmentation, NeuroImage 26 (2005) 839), so
a contrast need not be recognised. The coefficients a_c … d_c come from a U-Net that gets the image, the
place and the posterior of the mixture, with eight voxels to each cell of its grid.
"""

from itertools import pairwise
from typing import final

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.core.errors import UsageError
from unweight.nets.volume_unet import VolumeUNet, VolumeUNetConfig

N_TERMS = 4
CENTRE, SCALE = 0.7, 2.0
PRIOR_WIDTH = 48
N_FEATURES = 6
N_ITERATIONS = 15
KEPT = 20.0  # voxels of the whole brain that count towards each class
OWN_VARIANCE, LEAST_VARIANCE = 0.3, 0.0016
Cells = Float[Tensor, "batch channels cells voxels"]


@final
class TissueNetwork(nn.Module):
    """The network.

    Attributes:
        prior: Logits of the prior from features of the place.
        unet: Predicts coefficients.
        n_classes: Number of classes.
        alike: Classes with one mean and variance.
    """

    def __init__(
        self,
        config: VolumeUNetConfig,
        n_classes: int,
        *,
        alike: tuple[int, ...] = (),
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if config.out_channels != N_TERMS * n_classes + 1 or config.coarse_channels <= n_classes + 3:
            raise UsageError(
                f"{config.out_channels} output and {config.coarse_channels} coarse channels do not fit "
                f"{n_classes} classes",
                remedy=f"Give {N_TERMS * n_classes + 1} and {n_classes + 4} channels.",
            )
        self.n_classes = n_classes
        self.alike = alike
        self.unet = VolumeUNet(config, generator=generator)
        widths = (N_FEATURES, PRIOR_WIDTH, PRIOR_WIDTH, PRIOR_WIDTH)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [_linear(n_in, n_out, generator), nn.ReLU()]
        last = _linear(PRIOR_WIDTH, n_classes, generator)
        with torch.no_grad():
            last.weight.zero_()
        self.prior = nn.Sequential(*layers, last)

    @property
    def stride(self) -> int:
        """Of what the sizes of its images are multiples."""
        return self.unet.config.stride

    def forward(
        self,
        image: Float[Tensor, "batch 1 x y z"],
        guide: Float[Tensor, "batch guides u v w"],
        cells: Int[Tensor, "batch some"] | None = None,
    ) -> Cells:
        """Return the logits of the classes, that of the side, and those of the mixture alone.

        Args:
            image: Of even sizes, brain at about 1; 0 where there is none.
            guide: Position along three axes and distance to the surface of the brain, at half the
                resolution.
            cells: Of which cells of two voxels along each axis; None for all. They count with the last axis
                first, as do the eight voxels of a cell.
        """
        v = SCALE * (_cells(image) - CENTRE)
        smooth = SCALE * (_cells(F.avg_pool3d(image, 3, 1, 1, count_include_pad=False)) - CENTRE)
        prior, mixture, features = self._parts(image, guide, v)
        if cells is not None:
            v, smooth, prior, features = (_taken(part, cells) for part in (v, smooth, prior, features))
        coefficients, side = self._coefficients(features)
        own = quadratic(mixture, v) + prior
        return torch.cat([own + quadratic(coefficients, v, smooth), side, own], dim=1)

    def coefficients(
        self, image: Float[Tensor, "batch 1 x y z"], guide: Float[Tensor, "batch guides u v w"]
    ) -> tuple[Float[Tensor, "terms batch classes x y z"], Float[Tensor, "batch 1 x y z"]]:
        """Return what `quadratic` makes the logits of the classes from, and the logit of the side.

        Args:
            image: As for `forward`.
            guide: Likewise.
        """
        v = SCALE * (_cells(image) - CENTRE)
        prior, mixture, features = self._parts(image, guide, v)
        coefficients, side = self._coefficients(features)
        sums = torch.cat([coefficients[:3] + mixture, coefficients[3:]])
        sums[0] += prior
        shape = guide.shape[2:]
        whole = torch.stack([_volume(term, shape) for term in sums])
        return whole, _volume(side, shape)

    def _parts(
        self,
        image: Float[Tensor, "batch 1 x y z"],
        guide: Float[Tensor, "batch guides u v w"],
        v: Float[Tensor, "batch 1 cells 8"],
    ) -> tuple[
        Float[Tensor, "batch classes cells 1"],
        Float[Tensor, "3 batch classes 1 1"],
        Float[Tensor, "batch features cells 1"],
    ]:
        """Return the logarithm of the prior, coefficients of the mixture, and features of the U-Net."""
        counts = (guide[:, 3:4].flatten(2)[..., None] < 0) & (_cells(image) > 0)
        prior = self._log_prior(guide)[..., None]
        with torch.no_grad():
            mixture = fitted_mixture(v[..., ::8], counts[..., ::8], prior, self.alike)
            posterior = (prior + quadratic(mixture, v[..., ::2])).softmax(1) * counts[..., ::2]
        coarse = torch.cat([guide, posterior.mean(-1).reshape(-1, self.n_classes, *guide.shape[2:])], dim=1)
        features = self.unet.features(image, coarse)
        u, v_, w = guide.shape[2:]
        return prior, mixture, features[..., :u, :v_, :w].flatten(2)[..., None]

    def _log_prior(self, guide: Tensor) -> Float[Tensor, "batch classes cells"]:
        place = guide.flatten(2).movedim(1, -1)
        across, others, distance = place[..., :1].abs(), place[..., 1:3], place[..., 3:4]
        near = [3 * distance, (6 * distance).clamp(-1, 1), (12 * distance).clamp(-1, 1)]
        logits: Tensor = self.prior(torch.cat([2 * across, 2 * others, *near], dim=-1))
        return logits.log_softmax(-1).movedim(-1, 1)

    def _coefficients(
        self, features: Float[Tensor, "batch features cells 1"]
    ) -> tuple[Float[Tensor, "terms batch classes cells 8"], Float[Tensor, "batch 1 cells 8"]]:
        head = self.unet.head
        rows = F.linear(features[..., 0].movedim(1, -1), head.weight.flatten(1), head.bias)
        outputs = rearrange(rows, "b n (c voxel) -> b c n voxel", voxel=8)
        return rearrange(outputs[:, :-1], "b (t c) n voxel -> t b c n voxel", t=N_TERMS), outputs[:, -1:]


def quadratic(
    coefficients: Float[Tensor, "terms *shape"],
    v: Float[Tensor, "..."],
    smooth: Float[Tensor, "..."] | None = None,
) -> Float[Tensor, "..."]:
    """Return a + b v + c v² + d w.

    Args:
        coefficients: a, b, c and d; a, b and c if there is no w.
        v: Intensity.
        smooth: w, its mean.
    """
    a, b, c = coefficients[:3]
    result: Tensor = a + (b + c * v) * v
    return result if smooth is None else result + coefficients[3] * smooth


def fitted_mixture(
    v: Float[Tensor, "batch 1 cells some"],
    counts: Bool[Tensor, "batch 1 cells some"],
    log_prior: Float[Tensor, "batch classes cells 1"],
    alike: tuple[int, ...] = (),
) -> Float[Tensor, "3 batch classes 1 1"]:
    """Return a mixture of Gaussians by expectation maximisation, as coefficients for `quadratic`.

    Each class starts from what the prior gives it. Twenty voxels of the whole brain count towards each, so
    that a class that is absent keeps a mean and a variance.

    Args:
        v: Intensity.
        counts: Which voxels are brain.
        log_prior: Logarithm of the prior of each class.
        alike: Classes with one mean and variance, such as fluid in and around the brain.
    """
    weight = counts.to(v.dtype)
    both = (2, 3)
    total = weight.sum(both, keepdim=True).clamp(min=1)
    mean = (weight * v).sum(both, keepdim=True) / total
    variance = (weight * (v - mean) ** 2).sum(both, keepdim=True) / total + LEAST_VARIANCE
    share = log_prior.exp() * weight
    terms = torch.zeros(())
    for iteration in range(N_ITERATIONS + 1):
        if iteration:
            share = (log_prior + quadratic(terms, v)).softmax(1) * weight
        size = _pooled(share.sum(both, keepdim=True), alike) + KEPT
        m = (_pooled((share * v).sum(both, keepdim=True), alike) + KEPT * mean) / size
        spread = _pooled((share * (v - m) ** 2).sum(both, keepdim=True), alike)
        s = (spread + KEPT * OWN_VARIANCE * variance) / size + LEAST_VARIANCE
        terms = torch.stack([-(m**2) / (2 * s) - 0.5 * s.log(), m / s, -1 / (2 * s)])
    return terms


def _pooled(sums: Float[Tensor, "batch classes 1 1"], alike: tuple[int, ...]) -> Tensor:
    """Return sums over each class, or over all that are alike."""
    if not alike:
        return sums
    places = list(alike)
    pooled = sums.clone()
    pooled[:, places] = sums[:, places].sum(1, keepdim=True)
    return pooled


def _cells(volume: Float[Tensor, "batch channels x y z"]) -> Cells:
    """Return the eight voxels of each cell beside one another."""
    return rearrange(volume, "b c (u i) (v j) (w k) -> b c (u v w) (i j k)", i=2, j=2, k=2)


def _volume(cells: Cells, shape: torch.Size) -> Float[Tensor, "batch channels x y z"]:
    u, v, w = shape
    return rearrange(cells, "b c (u v w) (i j k) -> b c (u i) (v j) (w k)", u=u, v=v, w=w, i=2, j=2, k=2)


def _taken(values: Cells, cells: Int[Tensor, "batch some"]) -> Float[Tensor, "batch channels some voxels"]:
    return torch.stack([part.index_select(1, index) for part, index in zip(values, cells, strict=True)])


def _linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    layer = nn.Linear(n_in, n_out, device=generator.device)
    with torch.no_grad():
        layer.weight.normal_(0.0, (2.0 / n_in) ** 0.5, generator=generator)
        layer.bias.zero_()
    return layer
