"""The published T1 networks as one estimator: images in, inference by one of the networks, maps out.

The volumes are divided by one number for the whole acquisition, the 95th percentile of its brightest
volume (`synth.scanner.measure.reference_intensity`), so that PD comes out relative to it and is scaled
back. As published, this depends on content: a wider field of view or another object changes the number,
and what the network gets of the same tissue. A mask does not: the networks get the whole image, and a
mask only says where maps are wanted.

The networks work on slices, the first two axes of a volume. (x, y) is one slice, (x, y, z) has z of them;
a list of voxels is an image of one column, in which neighbours are those in the list.

The published scaling of maps is f(x) = 2 tanh(x) − 1, back by x = ½ ln((f + 3)/(1 − f)). x is T1 in
seconds, PD relative to the reference intensity, or B as it is. f(0) = −1 is the background. Its weakness
is that it saturates. dx/df = cosh²(x)/2, so that an error of 0.01 in f is

    T1       0.06    0.342   0.987   1.884   2.0     3.0     4.0    s
    error    5.0     5.6     12      57      71      507     3700   ms

and 5 ms at any short T1, which is 17 % of 30 ms. The slope df/dx is 0.14 at 2 s and 0.0027 at 4 s, so
estimates of cerebrospinal fluid say little. The inverse is convex above f = 0: the mean of values brought
back lies above the value of the mean. At f = 1 it has no value; see `unscaled`.

Reference: S. Wang et al., qMRI Diffusor, arXiv 2407.16477.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from unweight.core.acquisition import Acquisition
from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Estimator, Progress
from unweight.core.maps import ParameterMaps, VoxelStatus, assemble_maps
from unweight.core.parameter import ParameterSpec
from unweight.fit.noise_level import noise_from_background
from unweight.learn.t1.protocols import TrainedProtocol
from unweight.signals.parameters import PD, T1, B
from unweight.synth.scanner.measure import reference_intensity

LARGEST = T1.upper  # [s]; of PD and B, the same number
BACKGROUND = -1.0  # f(0)
SPECS: tuple[ParameterSpec, ...] = (T1, PD, B)
SIGNAL_TO_NOISE = 3.0  # the strongest volume of a voxel that holds signal, over sigma
LEVEL, NORMAL_QUANTILE = 0.9, 1.645


def as_slices(volumes: Float[Tensor, "*voxels channels"]) -> Float[Tensor, "slices channels x y"]:
    """Return the slices of volumes; further axes than x and y are counted through."""
    voxels = volumes.shape[:-1]
    wide = (*voxels, *(1,) * (2 - len(voxels))) if len(voxels) < 2 else tuple(voxels)
    image = volumes.reshape(wide[0], wide[1], math.prod(wide[2:]), volumes.shape[-1])
    return image.permute(2, 3, 0, 1)


def from_slices(
    slices: Float[Tensor, "slices channels x y"], voxels: Sequence[int]
) -> Float[Tensor, "*voxels channels"]:
    """Return volumes of these voxels, the way back from `as_slices`."""
    return slices.permute(2, 3, 0, 1).reshape(*voxels, slices.shape[1])


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class NormalisedSlices:
    """An acquisition as the networks get it.

    Attributes:
        images: The volumes of each slice, in the order of the channels, over the scale.
        scale: The reference intensity [unit of the input].
        status: What is known of each voxel beforehand: OK, MASKED or NO_SIGNAL.
        wanted: Slices with a voxel to estimate.
        noise_sd: Noise in one channel [unit of the input]; NaN where it is not known.
    """

    images: Float[Tensor, "slices channels x y"]
    scale: float
    status: UInt8[Tensor, "*voxels"]
    wanted: tuple[int, ...]
    noise_sd: float


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """What a network infers of each slice: T1 [s], PD relative to the scale, B.

    Attributes:
        values: The maps.
        std: Standard deviation of each.
        draws: Draws from the posterior, where there are any.
        at_limit: Voxels that leaned on an end stop.
    """

    values: Float[Tensor, "slices 3 x y"]
    std: Float[Tensor, "slices 3 x y"]
    draws: Float[Tensor, "draws slices 3 x y"] | None = None
    at_limit: Bool[Tensor, "slices x y"] | None = None


def normalise_volumes(acquisition: Acquisition, order: Sequence[int]) -> NormalisedSlices:
    """Bring volumes to the networks' unit and shape.

    A voxel holds no signal if its strongest volume stays below three times the noise, which is given or
    measured in the background; of pure background about one voxel in fourteen rises above that.

    Args:
        acquisition: What to map.
        order: Which volume belongs to each channel.

    Raises:
        InputError: There is nothing to work on.
    """
    inside = acquisition.inside
    if not bool(inside.any()):
        raise InputError(
            "no voxel to process: the mask is empty, or no voxel is finite",
            remedy="Check the mask and the images.",
        )
    signal = acquisition.signal[..., list(order)].nan_to_num(0.0, 0.0, 0.0)
    scale = reference_intensity(signal)
    if not scale > 0:
        raise InputError(
            "the 95th percentile of the brightest volume is 0: there is no intensity to refer to",
            remedy="Crop the volumes to the object.",
        )
    sigma = acquisition.noise_sd
    if sigma is None:
        sigma = noise_from_background(signal.reshape(-1, signal.shape[-1]))
    floor = SIGNAL_TO_NOISE * sigma if sigma > 0 else 0.0
    status = torch.full(acquisition.voxels, int(VoxelStatus.OK), dtype=torch.uint8, device=signal.device)
    status[signal.amax(-1) <= floor] = VoxelStatus.NO_SIGNAL
    status[~inside] = VoxelStatus.MASKED
    open_voxels = as_slices((status == VoxelStatus.OK)[..., None].to(signal)).flatten(1).any(1)
    return NormalisedSlices(
        images=as_slices(signal / scale),
        scale=scale,
        status=status,
        wanted=tuple(open_voxels.nonzero().flatten().tolist()),
        noise_sd=sigma,
    )


def maps_of_slices(
    acquisition: Acquisition,
    slices: NormalisedSlices,
    estimate: Estimate,
    notes: Mapping[str, str | float | int],
) -> ParameterMaps:
    """Put estimates back on the grid and in the unit of the input, and judge each voxel.

    A value that is not strictly inside its believed range is no value (OUT_OF_RANGE); PD is believed up
    to ten times the reference intensity.
    """
    like, voxels = acquisition.signal, acquisition.voxels
    status = slices.status.clone()
    relative = from_slices(estimate.values, voxels).to(device=like.device, dtype=torch.float64)
    lower, upper = relative.new_tensor([[T1.lower, 0.0, B.lower], [T1.upper, LARGEST, B.upper]])
    believed = ((relative > lower) & (relative < upper)).all(-1)
    valued = status == VoxelStatus.OK
    status[valued & ~believed] = VoxelStatus.OUT_OF_RANGE
    valued = valued & believed
    if estimate.at_limit is not None:
        stopped = from_slices(estimate.at_limit[:, None].to(relative), voxels)[..., 0].bool()
        status[valued & stopped] = VoxelStatus.AT_LIMIT
    if acquisition.saturated is not None:
        status[valued & acquisition.saturated] = VoxelStatus.SATURATED
    unit = relative.new_tensor([1.0, slices.scale, 1.0])

    def in_units(maps: Tensor) -> Tensor:
        return (from_slices(maps, voxels).to(unit) * unit).to(like)

    values, std = in_units(estimate.values), in_units(estimate.std)
    drawn, reach = estimate.draws, NORMAL_QUANTILE * std
    return assemble_maps(
        SPECS,
        values,
        std,
        status,
        like=like,
        interval=None if drawn is None else (values - reach, values + reach),
        interval_level=None if drawn is None else LEVEL,
        draws=None if drawn is None else [in_units(draw) for draw in drawn],
        noise_sd=slices.noise_sd if math.isfinite(slices.noise_sd) else None,
        affine=acquisition.affine,
        notes={"reference_intensity": slices.scale, **notes},
    )


def parameter_like(network: nn.Module) -> Tensor:
    """Return an empty tensor on the device and in the precision of a network, for `Tensor.to`."""
    for weight in network.parameters():
        return weight.new_empty(0)
    return torch.empty(0)


class SliceInference(ABC):
    """How the maps of slices are inferred with a network."""

    @abstractmethod
    def check(self, network: nn.Module, n_images: int) -> None:
        """Return if a network fits.

        Raises:
            UsageError: It does not take so many images, or does not give three maps.
        """

    @abstractmethod
    def __call__(
        self,
        network: nn.Module,
        slices: NormalisedSlices,
        inversion_time: Float[Tensor, " channels"],
        progress: Progress | None,
    ) -> Estimate:
        """Infer the maps of every slice with a voxel to estimate.

        Args:
            network: Trained.
            slices: The images.
            inversion_time: Of each channel, as measured [s].
            progress: Called with the voxels done and all of them.
        """

    @abstractmethod
    def n_evaluations(self, network: nn.Module) -> int:
        """Return how often the network is evaluated for one slice."""

    @abstractmethod
    def drawing(self, n_draws: int | None, n_steps: int | None) -> "SliceInference":
        """Return the same with so many draws and steps, where it draws; None for what it has."""

    @abstractmethod
    def notes(self) -> dict[str, str | float | int]:
        """Return its settings, for the sidecar."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkT1(Estimator[Acquisition]):
    """Maps of T1, PD and B by a network that was trained for one protocol.

    Attributes:
        network: The trained network.
        trained: What it was trained on; only this is accepted.
        inference: How the network is used.
    """

    network: nn.Module
    trained: TrainedProtocol
    inference: SliceInference

    def __post_init__(self) -> None:
        self.inference.check(self.network, len(self.trained.inversion_time))

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """T1, PD and B."""
        return SPECS

    def accept(self, acquisition: Acquisition) -> None:
        """Return if these are magnitude volumes of the trained protocol.

        Raises:
            ProtocolError: Otherwise.
        """
        self.trained.order(acquisition)

    def __call__(self, acquisition: Acquisition, progress: Progress | None = None) -> ParameterMaps:
        """Infer the maps of every slice with a voxel to estimate."""
        order = self.trained.order(acquisition)
        slices = normalise_volumes(acquisition, order)
        times = acquisition.protocol.require("inversion_time", self.trained.recipe)[order]
        estimate = self.inference(self.network, slices, times, progress)
        notes = {"method": self.trained.recipe, **self.inference.notes()}
        return maps_of_slices(acquisition, slices, estimate, notes)

    def drawing(self, n_draws: int | None = None, n_steps: int | None = None) -> "NetworkT1":
        """Return the same estimator with so many draws and steps, where it draws."""
        return replace(self, inference=self.inference.drawing(n_draws, n_steps))

    @property
    def evaluations_per_slice(self) -> int:
        """How often the network is evaluated for one slice."""
        return self.inference.n_evaluations(self.network)


def point_estimate(
    network: nn.Module,
    slices: NormalisedSlices,
    relative_sd: tuple[float, float, float],
    infer: Callable[[Float[Tensor, "1 channels x y"]], Float[Tensor, "3 x y"]],
    progress: Progress | None,
) -> Estimate:
    """Return one value for each voxel, slice by slice, with a standard deviation relative to it.

    Args:
        network: Where the images are to lie.
        slices: The images.
        relative_sd: Standard deviation of (T1, PD, B) over their value.
        infer: Returns the maps of one slice.
        progress: Called with the voxels done and all of them.
    """
    images = slices.images.to(parameter_like(network))
    values = torch.full((len(images), len(SPECS), *images.shape[2:]), math.nan, dtype=torch.float64)
    with torch.no_grad():
        for done, index in enumerate(slices.wanted, start=1):
            values[index] = infer(images[index : index + 1]).double().cpu()
            if progress is not None:
                progress(done * values[0, 0].numel(), len(slices.wanted) * values[0, 0].numel())
    spread = torch.tensor(relative_sd, dtype=torch.float64)[:, None, None]
    return Estimate(values=values, std=values.abs() * spread)


def check_relative_sd(relative_sd: tuple[float, float, float]) -> None:
    """Return if these can be relative standard deviations.

    Raises:
        UsageError: One is negative or not finite.
    """
    if not all(0 <= sd < math.inf for sd in relative_sd):
        raise UsageError(
            f"relative_sd is {relative_sd}", remedy="Give three numbers, 0.05 for five per cent."
        )


def masked_square_error(
    estimates: Float[Tensor, "*batch maps x y"], truth: Float[Tensor, "batch maps x y"]
) -> Float[Tensor, ""]:
    """Return the mean square error over all entries whose truth is a number; 0 where there is none.

    Args:
        estimates: Leading axes beyond the truth's, such as steps, are averaged over.
        truth: True maps, NaN where they do not count.
    """
    known = torch.isfinite(truth)
    square = (estimates - truth.nan_to_num()) ** 2 * known
    repeats = square.numel() // truth.numel()
    return square.sum() / (known.sum().clamp(min=1) * repeats)


def scaled(value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return f: −1 at 0, towards 1 for large values."""
    return 2 * torch.tanh(value) - 1


def unscaled(scaled_value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the value whose f this is, in double precision inside.

    What lies at or beyond the ends of f, −3 and 1, becomes −10 and 10: in seconds the largest T1 that is
    believed. Such a value is an end stop, not an estimate; whoever makes maps must mark it.
    """
    within = scaled_value.double().clamp(-3.0, 1.0)
    value = 0.5 * torch.log((within + 3) / (1 - within))
    return value.clamp(-LARGEST, LARGEST).to(scaled_value)
