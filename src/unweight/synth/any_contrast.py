"""Images of a labelled head with any contrast, resolution, orientation and artefact, in little time.

Half of all images have a random level for each label (B. Billot et al., SynthSeg, Med. Image Anal. 86
(2023) 102789); the others have the contrast of a spin echo, an inversion recovery or a spoiled gradient
echo with random timings, from T1, T2, R2* and proton density that are drawn around those of `MATERIALS`:

    S = PD (1 − E1) e^(−TE/T2),   PD |1 − 2 e^(−TI/T1) + E1| e^(−TE/T2),
    S = PD sin α (1 − E1) / (1 − cos α E1) e^(−TE R2*),   E1 = e^(−TR/T1)

Levels are averaged over the voxels of the acquisition, with Rician noise and a ghost there, and sampled on
a turned, stretched and warped grid. There bias field, lesions and signal loss are added, the face or
everything but the brain may be cut away, and the field of view may end.
"""

import math
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from unweight.synth.anatomy.head_parts import PART, PARTS, LabelledHead
from unweight.synth.sampling import bernoulli, draw_count, draw_log_uniform, draw_uniform
from unweight.synth.tissue.materials import SILENT, TISSUES

# T1 [s], T2 [s], proton density and R2* beside 1/T2 [1/s] of the parts that are no material: ours.
EXTRA = {
    "vitreous": (4.0, 1.0, 0.98, 1.0),
    "lens": (1.2, 0.03, 0.65, 10.0),
    "optic_nerve": (0.95, 0.075, 0.72, 8.0),
    "mucosa": (1.5, 0.09, 0.85, 20.0),
    "cord": (0.9, 0.075, 0.72, 8.0),
    "canal": (4.2, 1.7, 1.0, 2.0),
}
DECAY = 8.0
FAT = ("fat", "marrow")
NECK = 8.0 / 22.0  # of the spread
TURN, WARP_MM, WARP_KNOTS = math.radians(18.0), 4.0, 5
TINY = 1e-6
TEXTURE_KNOTS = (6, 24)
MARGIN = 12
Patch = Float[Tensor, "x y z"]


@final
@dataclass(frozen=True, kw_only=True)
class AnyContrast:
    """What is drawn, and how often.

    Attributes:
        physical: Share of images with the contrast of a sequence.
        any_axes: Share of images whose axes lie along any directions of the head.
        largest_voxel_mm: Of the acquisition, along its coarsest axis [mm].
        noise: Smallest and largest standard deviation, of the brightest label.
        bias: Largest standard deviation of the logarithm of the bias field.
        slab: Share of images that are a slab.
        stripped: Share of images with nothing but the brain and a margin.
        defaced: Share of images with a cut through the face.
        lesions: Share of images with lesions or cavities.
        routine: Share of images with the contrast of a sequence whose timings are those of routine scans.
        thick: Share of images with one coarser axis.
        grid_mm: Voxels of the grid [mm].
        anywhere: Share of images whose middle is any voxel of the brain.
        texture: Largest standard deviation of the logarithm of a texture within tissues.
        spread_mm: How far the middle of an image lies from that of the brain, along each axis [mm].
    """

    physical: float = 0.5
    any_axes: float = 0.08
    largest_voxel_mm: float = 6.0
    noise: tuple[float, float] = (0.004, 0.1)
    bias: float = 0.35
    slab: float = 0.12
    stripped: float = 0.06
    defaced: float = 0.12
    lesions: float = 0.25
    routine: float = field(default=0.0, metadata={"newer": True})
    thick: float = field(default=0.6, metadata={"newer": True})
    grid_mm: float = field(default=2.0, metadata={"newer": True})
    anywhere: float = field(default=0.0, metadata={"newer": True})
    texture: float = field(default=0.0, metadata={"newer": True})
    spread_mm: float = field(default=22.0, metadata={"newer": True})


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ContrastSample:
    """One image of a head, with the truth.

    Attributes:
        image: Of any scale, 0 outside the field of view.
        distance: Signed distance to the surface of the brain, negative inside [mm].
        visible: Where there is an image.
        places: Where each voxel lies in the head, as indices of its labels.
    """

    image: Patch
    distance: Patch
    visible: Bool[Tensor, "x y z"]
    places: Float[Tensor, "x y z 3"]


def draw_images(
    head: LabelledHead, patch: int, prior: AnyContrast, generator: torch.Generator, count: int = 1
) -> tuple[ContrastSample, ...]:
    """Return images of one random acquisition of a head on cubic grids.

    Place, direction, shape, bias field and what is cut off differ from image to image.

    Args:
        head: Labels and distance.
        patch: Voxels along each side.
        prior: What is drawn.
        generator: For all that is random.
        count: How many.
    """
    grids = torch.stack([_places(head, patch, prior, generator) for _ in range(count)])
    box = _box(grids, head.labels.shape)
    size = torch.tensor(head.labels.shape, dtype=torch.float32)
    first = torch.tensor([part.start for part in box], dtype=torch.float32)
    length = torch.tensor([part.stop - part.start for part in box], dtype=torch.float32)
    volume = _acquired(head.labels[box], prior, generator)
    images = []
    for places in grids:
        image = _sampled(volume, (2 * (places - first) + 1) / length - 1, padding="zeros")
        distance = _sampled(head.distance, (2 * places + 1) / size - 1, padding="border")
        visible = ((places >= 0) & (places <= size - 1)).all(-1)
        if prior.texture > 0:
            image = image * _texture(patch, prior, generator)
        image = image * _bias(patch, prior, generator)
        image = _with_lesions(image, distance, prior, generator)
        image, visible = _cut(image, distance, visible, prior, generator)
        images.append(ContrastSample(image=image, distance=distance, visible=visible, places=places))
    return tuple(images)


def draw_levels(prior: AnyContrast, generator: torch.Generator) -> Float[Tensor, " parts"]:
    """Return the level of each label, the brightest about 1."""
    physical = bernoulli(prior.physical, generator)
    levels = _signal(prior, generator) if physical else torch.rand(len(PARTS), generator=generator)
    if not physical:
        silent = 0.05 * torch.rand((), generator=generator)
        for name in SILENT:
            levels[PART[name]] = silent
        if bernoulli(0.7, generator):  # bone is dark in most images
            levels[PART["skull"]] *= 0.3
        if bernoulli(0.5, generator):  # nuclei resemble grey matter
            grey = levels[PART["grey_matter"]]
            for name in ("caudate", "putamen", "thalamus", "red_nucleus", "substantia_nigra", "dentate"):
                levels[PART[name]] = 0.7 * grey + 0.3 * levels[PART[name]]
        if bernoulli(0.5, generator):
            for name, like in (("vitreous", "csf"), ("canal", "csf"), ("cord", "white_matter")):
                levels[PART[name]] = levels[PART[like]]
    if bernoulli(0.25, generator):
        share = float(torch.rand((), generator=generator)) * 0.4
        for name in FAT:
            levels[PART[name]] *= share
    return levels / levels.max().clamp(min=TINY)


@final
@dataclass(frozen=True, kw_only=True)
class Timings:
    """A sequence: an inversion recovery with TI, a gradient echo with a flip angle, else a spin echo.

    Attributes:
        tr: Repetition time [s].
        te: Echo time [s].
        ti: Inversion time [s].
        angle: Flip angle [rad].
    """

    tr: float
    te: float
    ti: float | None = None
    angle: float | None = None

    def signal(self, table: Float[Tensor, "parts 4"]) -> Float[Tensor, " parts"]:
        """Return the signal of each part, with its sign.

        Args:
            table: As `tissue_table` returns it.
        """
        t1, t2, pd, decay = table.unbind(1)
        e1 = torch.exp(-self.tr / t1)
        if self.angle is not None:
            steady = pd * math.sin(self.angle) * (1 - e1) / (1 - math.cos(self.angle) * e1)
            return steady * torch.exp(-self.te * (1 / t2 + decay))
        recovered = 1 - e1 if self.ti is None else 1 - 2 * torch.exp(-self.ti / t1) + e1
        return pd * recovered * torch.exp(-self.te / t2)


def tissue_table() -> Float[Tensor, "parts 4"]:
    """Return T1 [s], T2 [s], proton density and R2* beside 1/T2 [1/s] of each of `PARTS`."""
    rows = []
    for name in PARTS:
        if name in EXTRA:
            rows.append(EXTRA[name])
        else:
            facts = TISSUES[name]
            decay = DECAY if facts.decay is None else facts.decay
            rows.append((facts.t1[0], facts.t2[0], facts.pd[0], decay))
    return torch.tensor(rows)


def _signal(prior: AnyContrast, generator: torch.Generator) -> Float[Tensor, " parts"]:
    """Return the signal of a sequence, with routine timings or any."""
    table = tissue_table()
    table = table * torch.exp(0.12 * torch.randn(table.shape, generator=generator))
    if prior.routine > 0 and bernoulli(prior.routine, generator):
        return _routine(generator).signal(table).abs()
    return _sequence(table, generator)


def _routine(generator: torch.Generator) -> Timings:
    """Return the timings of T1w (MPRAGE, spin echo, spoiled gradient echo), T2w, PDw, FLAIR or T2*w."""
    kind = draw_count(0, 7, generator)
    if kind <= 1:
        ti = draw_uniform((0.7, 1.2), generator)
        return Timings(tr=ti + draw_uniform((0.8, 1.6), generator), te=0.003, ti=ti)
    if kind == 2:
        return Timings(tr=draw_uniform((0.4, 0.8), generator), te=draw_uniform((0.008, 0.02), generator))
    if kind == 3:
        angle = math.radians(draw_uniform((12.0, 35.0), generator))
        return Timings(tr=draw_uniform((0.006, 0.03), generator), te=0.004, angle=angle)
    if kind == 4:
        return Timings(tr=draw_uniform((2.5, 8.0), generator), te=draw_uniform((0.07, 0.13), generator))
    if kind == 5:
        return Timings(tr=draw_uniform((2.0, 6.0), generator), te=draw_uniform((0.01, 0.03), generator))
    if kind == 6:
        tr = draw_uniform((5.0, 11.0), generator)
        null = 4.3 * (math.log(2.0) - math.log1p(math.exp(-tr / 4.3)))
        ti = null * draw_uniform((0.92, 1.05), generator)
        return Timings(tr=tr, te=draw_uniform((0.08, 0.14), generator), ti=ti)
    angle = math.radians(draw_uniform((8.0, 25.0), generator))
    te = draw_uniform((0.002, 0.035), generator)
    return Timings(tr=draw_uniform((0.02, 0.06), generator), te=te, angle=angle)


def _sequence(table: Float[Tensor, "parts 4"], generator: torch.Generator) -> Float[Tensor, " parts"]:
    """Return the signal of a random sequence."""
    kind = draw_count(0, 3, generator)
    if kind == 0:  # spin echo
        tr, te = draw_log_uniform((0.4, 8.0), generator), draw_log_uniform((0.008, 0.15), generator)
        return Timings(tr=tr, te=te).signal(table)
    if kind in (1, 2):  # inversion recovery, FLAIR, MPRAGE
        ti = draw_log_uniform((0.05, 3.0), generator)
        tr = ti + draw_log_uniform((0.5, 8.0), generator)
        te = draw_log_uniform((0.003, 0.12), generator)
        signal = Timings(tr=tr, te=te, ti=ti).signal(table)
        return signal.abs() if bernoulli(0.9, generator) else signal - signal.min()
    tr, te = draw_log_uniform((0.005, 0.08), generator), draw_log_uniform((0.002, 0.05), generator)
    angle = math.radians(draw_log_uniform((3.0, 50.0), generator))
    return Timings(tr=tr, te=te, angle=angle).signal(table)


def _box(places: Float[Tensor, "images x y z 3"], shape: torch.Size) -> tuple[slice, ...]:
    """Return the part of the labels that a grid reaches, with a margin."""
    flat = places.reshape(-1, 3)
    low, high = flat.amin(0).tolist(), flat.amax(0).tolist()
    box = []
    for begin, end, size in zip(low, high, shape, strict=True):
        first = min(max(0, int(begin) - MARGIN), size - MARGIN)
        box.append(slice(first, max(first + MARGIN, min(size, int(end) + MARGIN))))
    return tuple(box)


def _acquired(
    labels: UInt8[Tensor, "x y z"], prior: AnyContrast, generator: torch.Generator
) -> Float[Tensor, "u v w"]:
    """Return the head in the voxels of the acquisition, never finer than the grid, with noise and ghost."""
    levels = draw_levels(prior, generator)
    volume = torch.from_numpy(levels.numpy()[labels.numpy()])
    fine = draw_uniform((prior.grid_mm, 1.2 * prior.grid_mm), generator)
    sizes = [fine, fine, fine]
    if bernoulli(prior.thick, generator):
        thick = draw_log_uniform((fine, prior.largest_voxel_mm), generator)
        sizes[draw_count(0, 2, generator)] = thick
    elif bernoulli(0.4, generator):
        sizes = [draw_uniform((prior.grid_mm, 2 * prior.grid_mm), generator)] * 3
    shape = [max(8, round(n / size)) for n, size in zip(volume.shape, sizes, strict=True)]
    coarse = F.interpolate(volume[None, None], size=shape, mode="area")
    if bernoulli(0.3, generator):
        soft = F.avg_pool3d(coarse, 3, 1, 1, count_include_pad=False)
        coarse = torch.lerp(coarse, soft, float(torch.rand((), generator=generator)))
    result = coarse[0, 0]
    if bernoulli(0.2, generator):
        axis = draw_count(0, 2, generator)
        strength = draw_uniform((0.03, 0.2), generator)
        result = result + strength * result.roll(result.shape[axis] // draw_count(2, 4, generator), axis)
    sigma = draw_log_uniform(prior.noise, generator)
    noise = sigma * torch.randn((2, *result.shape), generator=generator)
    noisy = ((result + noise[0]) ** 2 + noise[1] ** 2).sqrt()
    if bernoulli(0.3, generator):  # the background of many reconstructions is 0
        solid = F.interpolate((labels > 0).float()[None, None], size=shape, mode="area")[0, 0]
        noisy = noisy * (F.max_pool3d(solid[None, None], 3, 1, 1)[0, 0] > 0.1)
    return noisy


def _places(
    head: LabelledHead, patch: int, prior: AnyContrast, generator: torch.Generator
) -> Float[Tensor, "x y z 3"]:
    """Return where the voxels of the grid lie in the head, as indices of its labels."""
    inside = (head.distance < 0).nonzero().float()
    middle = 2 * inside[:: max(1, len(inside) // 5000)].mean(0) + 0.5  # index of the labels
    spread = prior.spread_mm * torch.randn(3, generator=generator)
    spread[2] -= prior.spread_mm * NECK  # more of the neck than of the air above
    if prior.anywhere > 0 and bernoulli(prior.anywhere, generator):
        middle = 2 * inside[draw_count(0, len(inside) - 1, generator)] + 0.5
        spread = torch.zeros(3)
    turns = TURN * torch.randn(3, generator=generator).clamp(-2, 2) / 1.5
    matrix = _rotation(turns) * torch.exp(0.09 * torch.randn(3, generator=generator))
    if bernoulli(0.5, generator):
        matrix = torch.diag(torch.tensor([-1.0, 1.0, 1.0])) @ matrix
    if bernoulli(prior.any_axes, generator):
        order = torch.randperm(3, generator=generator)
        signs = 2.0 * torch.randint(0, 2, (3,), generator=generator) - 1
        matrix = (matrix @ torch.diag(signs))[:, order]
        spread = 0.4 * spread
    steps = (torch.arange(patch) - (patch - 1) / 2) * prior.grid_mm
    parts = [
        (steps[:, None] * matrix[:, axis]).reshape([patch if at == axis else 1 for at in range(3)] + [3])
        for axis in range(3)
    ]
    places = parts[0] + parts[1] + parts[2] + (middle + spread)
    knots = torch.randn(1, 3, *[WARP_KNOTS] * 3, generator=generator)
    warp = WARP_MM * float(torch.rand((), generator=generator))
    return places + warp * F.interpolate(knots, size=[patch] * 3, mode="trilinear")[0].movedim(0, -1)


def _rotation(angles: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    (a, b, c), (x, y, z) = angles.cos().tolist(), angles.sin().tolist()
    about_x = torch.tensor([[1, 0, 0], [0, a, -x], [0, x, a]])
    about_y = torch.tensor([[b, 0, y], [0, 1, 0], [-y, 0, b]])
    about_z = torch.tensor([[c, -z, 0], [z, c, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def _sampled(
    volume: Float[Tensor, "x y z"], places: Float[Tensor, "u v w 3"], *, padding: str
) -> Float[Tensor, "u v w"]:
    # grid_sample takes the last axis first.
    sampled = F.grid_sample(
        volume[None, None], places.flip(-1)[None], padding_mode=padding, align_corners=False
    )
    return sampled[0, 0]


def _smooth(patch: int, knots: int, generator: torch.Generator) -> Patch:
    drawn = torch.randn(1, 1, knots, knots, knots, generator=generator)
    return F.interpolate(drawn, size=[patch] * 3, mode="trilinear")[0, 0]


def _texture(patch: int, prior: AnyContrast, generator: torch.Generator) -> Patch:
    """Return what the signal of tissue is multiplied by: variation of two sizes within a tissue."""
    strength = prior.texture * float(torch.rand((), generator=generator))
    parts = sum((_smooth(patch, knots, generator) for knots in TEXTURE_KNOTS), torch.zeros(()))
    return torch.exp(strength * parts)


def _bias(patch: int, prior: AnyContrast, generator: torch.Generator) -> Patch:
    strength = prior.bias * float(torch.rand((), generator=generator))
    field = torch.exp(strength * _smooth(patch, draw_count(2, 5, generator), generator))
    if bernoulli(0.15, generator):  # signal lost beside air, as in gradient echoes
        field = field * torch.sigmoid(
            6 * (_smooth(patch, 6, generator) + draw_uniform((0.8, 1.6), generator))
        )
    return field


def _with_lesions(image: Patch, distance: Patch, prior: AnyContrast, generator: torch.Generator) -> Patch:
    """Return the image with balls of other levels in the brain, or at its surface."""
    inside = (distance < 2).nonzero()
    if not len(inside) or not bernoulli(prior.lesions, generator):
        return image
    top = float(image.max())
    for _ in range(draw_count(1, 5, generator)):
        centre = inside[draw_count(0, len(inside) - 1, generator)]
        radius = draw_log_uniform((1.0, 12.0), generator)
        box = tuple(
            slice(max(0, int(at) - math.ceil(radius)), int(at) + math.ceil(radius) + 1) for at in centre
        )
        axes = [torch.arange(*part.indices(size)) for part, size in zip(box, image.shape, strict=True)]
        x, y, z = torch.meshgrid(*axes, indexing="ij")
        ball = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < radius**2
        level = top * float(torch.rand((), generator=generator))
        image[box] = torch.where(ball & (distance[box] < 0), level, image[box])
    return image


def _cut(
    image: Patch,
    distance: Patch,
    visible: Bool[Tensor, "x y z"],
    prior: AnyContrast,
    generator: torch.Generator,
) -> tuple[Patch, Bool[Tensor, "x y z"]]:
    """Return the image without face, without everything but the brain, or as a slab."""
    n = image.shape[0]
    steps = torch.linspace(-1, 1, n)
    if bernoulli(prior.defaced, generator):
        tilt = draw_uniform((0.3, 2.0), generator)
        start = draw_uniform((0.1, 0.9), generator)
        front = steps[None, :, None] - tilt * steps[None, None, :] > start
        image = torch.where(front & (distance > draw_uniform((3.0, 15.0), generator)), 0.0, image)
    if bernoulli(prior.stripped, generator):
        image = torch.where(distance > draw_uniform((-2.0, 4.0), generator), 0.0, image)
    if bernoulli(prior.slab, generator):
        axis = draw_count(0, 2, generator) if bernoulli(0.25, generator) else 2
        length = round(draw_log_uniform((3.0, 0.8 * n), generator))
        first = draw_count((n - length) // 4, n - length - (n - length) // 4, generator)
        kept = torch.zeros(n, dtype=torch.bool)
        kept[first : first + length] = True
        shape = [n if at == axis else 1 for at in range(3)]
        visible = visible & kept.reshape(shape)
        image = image * kept.reshape(shape)
    return image, visible
