"""Pairs of multi-echo gradient echo and T1w: how they are made of images, and how they are stored.

A pair is one subject to learn from: what a gradient echo shows, and the T1-weighted image it is to become.
Simulated and real subjects go the same way:

    echoes            → brain, R2*, χ → channels
    T1w on their grid → bias field out, white matter at 1 → target

It is kept as one safetensors file: channels and target in half precision, cut to the brain, so that a
training reads what it needs of many subjects without holding them all.

The intensity of the target: the bias field is taken out (N4), and the image is divided by the intensity
most white matter has, the brightest peak of the histogram over the brain that is at least a third as high
as the highest one. In T1w images white matter is the brightest of the large tissues; fat and vessels lie
outside the mask. Networks work on (T1w − 0.7)/0.35.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Bool, Float, Float16, Float64, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import conv1d

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, ProtocolError
from unweight.files.atomic import write_bytes_atomic
from unweight.files.text_files import parse_json
from unweight.fit.log_linear import LogLinear
from unweight.fit.susceptibility import SusceptibilityFit
from unweight.learn.pairs.echo_channels import echo_channels
from unweight.learn.pairs.scan_range import SCAN, plain_scan
from unweight.prepare.bias_field import without_bias
from unweight.prepare.echo_mask import find_brain_in_echoes
from unweight.susceptibility.geometry import geometry_of

SUFFIX = ".safetensors"
TENSORS = ("channels", "target", "labels")
ABOUT = "about"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """Channels and target on one grid.

    Attributes:
        channels: As `learn.pairs.echo_channels` makes them; the last is the mask.
        target: T1w, white matter at 1, 0 outside the mask.
        labels: Structures, in the order of `metrics.structures`; all 0 where they are not known.
        voxel_mm: Size of a voxel [mm].
        name: Of the subject.
        about: Age, sex and the like, as JSON values.
    """

    channels: Float16[Tensor, "7 x y z"]
    target: Float16[Tensor, "x y z"]
    labels: UInt8[Tensor, "x y z"]
    voxel_mm: tuple[float, float, float]
    name: str
    about: Mapping[str, object]

    def save(self, path: Path) -> None:
        """Write the file.

        Raises:
            OutputError: It cannot be written.
        """
        tensors = {name: getattr(self, name).contiguous() for name in TENSORS}
        info = {**self.about, "name": self.name, "voxel_mm": list(self.voxel_mm)}
        write_bytes_atomic(path, save(tensors, metadata={ABOUT: json.dumps(info)}))


def load_pair(path: Path) -> Pair:
    """Return a pair; its tensors stay on the disk until they are used.

    Raises:
        InputError: The file is no pair.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = parse_json(file.metadata()[ABOUT])
            tensors = {name: file.get_tensor(name) for name in TENSORS}
        x, y, z = (float(size) for size in about.pop("voxel_mm"))
        name = str(about.pop("name"))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError("is not a training pair", remedy="Create it again.", path=path) from error
    return Pair(
        channels=tensors["channels"],
        target=tensors["target"],
        labels=tensors["labels"],
        voxel_mm=(x, y, z),
        name=name,
        about=about,
    )


def box_of(mask: Tensor, margin: int, least: int) -> tuple[slice, slice, slice]:
    """Return the voxels around a mask, so many along each axis at least as far as there are any."""
    parts = []
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        result = mask.any(others[1]).any(others[0]).nonzero()[:, 0]
        first, last = int(result[0]) - margin, int(result[-1]) + 1 + margin
        missing = max(0, least - (last - first))
        first, last = first - missing // 2, last + missing - missing // 2
        size = mask.shape[axis]
        if first < 0:
            first, last = 0, last - first
        if last > size:
            first, last = max(0, first - (last - size)), size
        parts.append(slice(first, last))
    return parts[0], parts[1], parts[2]


def half(values: Tensor) -> Float16[Tensor, "..."]:
    """Return values in half precision."""
    return values.to(torch.float16)


MARGIN, LEAST = 3, 64  # voxels around the brain, and along each axis


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class EchoMaps:
    """What was made of the echoes of one subject.

    Attributes:
        magnitude: By rising TE.
        echo_time: [s]
        mask: The brain.
        r2star: [1/s]; NaN outside the mask.
        chi: [ppm]; NaN where it is not known. None without phase.
        voxel_mm: Size of a voxel [mm].
        notes: What a careful reader should know.
        scan: Flip angle, TR and echo times, as `plain_scan` gives them.
    """

    magnitude: Float[Tensor, "x y z echoes"]
    echo_time: Float[Tensor, " echoes"]
    mask: Bool[Tensor, "x y z"]
    r2star: Float[Tensor, "x y z"]
    chi: Float[Tensor, "x y z"] | None
    voxel_mm: tuple[float, float, float]
    notes: tuple[str, ...] = ()
    scan: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def channels(self) -> Float[Tensor, "7 x y z"]:
        """Return the input of a network."""
        return echo_channels(
            self.magnitude, self.echo_time, (self.r2star, self.chi), self.mask, self.voxel_mm
        )


def maps_of_echoes(
    acquisition: Acquisition,
    fit: SusceptibilityFit | None = None,
    given: Mapping[str, Float[Tensor, "x y z"]] | None = None,
) -> EchoMaps:
    """Find the brain, R2* and, where there is phase, χ.

    Args:
        acquisition: Complex or magnitude echoes; with a mask, that one is taken.
        fit: How χ is found.
        given: Maps that are known already, `R2star` [1/s] or `Chi` [ppm]; they are not made then.

    Raises:
        InputError: There is no brain to find, or a given map is on another grid.
        ProtocolError: There are too few echoes, or no affine.
    """
    given = given or {}
    if acquisition.affine is None or len(acquisition.voxels) != 3:
        raise ProtocolError("echoes of a volume with three axes and an affine are needed")
    times = acquisition.protocol.require("echo_time", "R2*")
    order = times.argsort()
    magnitude = acquisition.signal.abs()[..., order.to(acquisition.signal.device)].float()
    times = times[order].to(magnitude)
    voxel_mm = geometry_of(acquisition.affine).voxel_mm
    for name, values in given.items():
        if values.shape != acquisition.voxels:
            raise InputError(f"the map {name} given is not on the grid of the echoes")
    if acquisition.mask is None:
        acquisition = replace(acquisition, mask=find_brain_in_echoes(magnitude, voxel_mm))
    mask = acquisition.inside & (magnitude > 0).any(-1)
    r2star = given.get("R2star")
    if r2star is None:
        # Not `RelaxationFit`, which is right near the noise floor too: the networks have learned from this
        # R2*, and its error is part of what they know. Another estimator wants another training.
        solver = LogLinear()
        solver.accept(times)
        r2star = torch.full(mask.shape, torch.nan).to(magnitude)
        r2star[mask] = solver(magnitude[mask], times).rate
    chi = given.get("Chi")
    notes: tuple[str, ...] = ()
    if chi is None and acquisition.kind is SignalKind.COMPLEX:
        reconstruction = (SusceptibilityFit() if fit is None else fit).reconstruct(acquisition)
        chi, notes = reconstruction.maps.values[..., 0].to(magnitude), reconstruction.notes
    return EchoMaps(
        magnitude=magnitude,
        echo_time=times,
        mask=mask,
        r2star=r2star.to(magnitude),
        chi=None if chi is None else chi.to(magnitude),
        voxel_mm=voxel_mm,
        notes=notes,
        scan=MappingProxyType(plain_scan(acquisition.protocol)),
    )


def make_pair(
    maps: EchoMaps,
    t1w: Float[Tensor, "x y z"],
    affine: Float[Tensor, "4 4"],
    labels: UInt8[Tensor, "x y z"] | None,
    about: Mapping[str, object],
) -> Pair:
    """Return a pair, cut to the brain.

    Args:
        maps: Of the echoes.
        t1w: On their grid.
        affine: Of the grid.
        labels: Structures, where they are known.
        about: What is known of the subject; `name` is needed.
    """
    return pair_of(maps, on_own_scale(t1w.float(), maps.mask, affine.double()), labels, about)


def pair_of(
    maps: EchoMaps,
    target: Float[Tensor, "x y z"],
    labels: UInt8[Tensor, "x y z"] | None,
    about: Mapping[str, object],
) -> Pair:
    """Return a pair of a target that has its scale already, cut to the brain, as `make_pair`."""
    box = box_of(maps.mask, MARGIN, LEAST)
    known = torch.zeros_like(maps.mask, dtype=torch.uint8) if labels is None else labels
    return Pair(
        channels=half(maps.channels()[:, *box]),
        target=half(target[box]),
        labels=(known * maps.mask)[box].contiguous(),
        voxel_mm=maps.voxel_mm,
        name=str(about["name"]),
        about={SCAN: dict(maps.scan)} | {key: value for key, value in about.items() if key != "name"},
    )


BINS, SMOOTH_BINS = 256, 4.0
HIGHEST = 0.995  # quantile that ends the histogram
ENOUGH = 1 / 3
FEWEST, MOST = 200, 2**20
DATA_RANGE = 1.2  # of what is brain, white matter being 1
BRIGHTEST = 2.0
MIDDLE, SPREAD = 0.7, 0.35  # of the intensities that networks work on


def white_matter_peak(image: Float[Tensor, "*voxels"], mask: Bool[Tensor, "*voxels"]) -> float:
    """Return the intensity of white matter.

    Raises:
        InputError: There are too few voxels, or they have no signal.
    """
    values = image[mask & torch.isfinite(image)].double()
    some = values[:: max(1, len(values) // MOST)]
    if len(values) < FEWEST or not float(some.quantile(HIGHEST)) > 0:
        raise InputError(
            f"{len(values)} voxels in the mask do not determine the intensity of white matter",
            remedy="Check the image and the mask.",
        )
    top = 1.1 * float(some.quantile(HIGHEST))
    counts = torch.histc(values, bins=BINS, min=0.0, max=top)
    place = torch.arange(-12, 13, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (place / SMOOTH_BINS) ** 2)
    smooth = conv1d(counts[None, None], kernel[None, None] / kernel.sum(), padding=12)[0, 0]
    inner = smooth[1:-1]
    peaks = (inner >= smooth[:-2]) & (inner > smooth[2:]) & (inner >= ENOUGH * smooth.max())
    result = peaks.nonzero()[:, 0]
    best = int(result[-1]) + 1 if len(result) else int(smooth.argmax())
    return (best + 0.5) * top / BINS


def on_own_scale(
    image: Float[Tensor, "x y z"], mask: Bool[Tensor, "x y z"], affine: Float64[Tensor, "4 4"]
) -> Float[Tensor, "x y z"]:
    """Return a T1w image without its bias field, white matter at 1, 0 outside the mask.

    Args:
        image: Magnitudes.
        mask: The brain.
        affine: Voxel index to millimetres (RAS+).

    Raises:
        UsageError: SimpleITK is not installed.
        InputError: The mask is empty, or there is no signal in it.
    """
    flat = without_bias(image.float(), mask, affine)
    scaled = flat / white_matter_peak(flat, mask)
    return torch.where(mask, scaled.nan_to_num().clamp(0.0, BRIGHTEST), 0.0)


def normalise(image: Tensor) -> Tensor:
    """Return intensities as networks get them."""
    return (image - MIDDLE) / SPREAD


def denormalise(values: Tensor) -> Tensor:
    """Return outputs of networks as intensities, white matter at 1."""
    return values * SPREAD + MIDDLE
