"""The posterior network as an estimator, and when the fit is the better answer.

T1, PD and B with intervals that hold, in one pass: fit, then let the neighbours have their say.

    fit (maximum likelihood) → features (`learn.t1.features`) → U-Net → ln T1, ln PD and B with their sd
    → intervals mean ± q·sd, q found on subjects never trained on (`learn.training.conformal`)

The input of the network is the likelihood of each voxel, not the images, so the same weights serve any
inversion times and any TR in their range. It never has the last word: where the data cannot be explained
with the T1 it gives (chi-square of the signal equation at that T1, PD and B free), the voxel is marked.

Whether the posterior is any better than the fit it corrects, asked of a scan after it was mapped.

Some of what a network was trained for shows only once the scan is fitted: the inversion efficiency, the
SNR, errors between volumes that are not noise. Where they lie outside its training the stated standard
deviation grows beyond the bound of the fit. A posterior is narrower than the fit or it is useless, so the
median of the ratio over clear voxels decides.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.chi_square import chi_square_above
from unweight.core.errors import InputError, ProtocolError
from unweight.core.estimator import Estimator, Progress
from unweight.core.maps import ParameterMaps, VoxelStatus, assemble_maps
from unweight.core.parameter import ParameterSpec
from unweight.fit.blocks import one_thread_per_operation
from unweight.fit.inversion_recovery import IMPLAUSIBLE, InversionRecoveryFit
from unweight.fit.recovery_projection import project, recovery_basis, recovery_timing
from unweight.learn.t1.features import (
    CHANNELS,
    LOG_SNR,
    LOG_SNR_SPREAD,
    PRESENT,
    FitFeatures,
    TwoFits,
    fit_features,
    fit_twice,
)
from unweight.learn.t1.network_t1 import as_slices, from_slices
from unweight.learn.t1.posterior_task import split_output
from unweight.learn.t1.protocols import ProtocolRange
from unweight.learn.t1.residual import ResidualDraws, residual_inputs
from unweight.learn.training.conformal import GAUSSIAN, LEVEL, Conformal
from unweight.learn.training.trainable import check_base, load_network
from unweight.learn.training.weights import load_weights
from unweight.nets.time_unet import TimeUNet
from unweight.nets.unet import UNet
from unweight.signals.parameters import PD, T1, B

NAME, RESIDUAL_NAME = "t1-posterior", "t1-residual"
DEFAULT_FIT = InversionRecoveryFit()
CLEAR = CHANNELS.index("ln PD over noise")
CLEAR_SNR = 15.0  # PD over noise of a clear signal
CLEARLY = (math.log(CLEAR_SNR) - LOG_SNR) / LOG_SNR_SPREAD
N_QUANTILE = 1_000_000  # quantiles take no more than 16 million values
# Names of notes.
SD_OVER_BOUND = "stated_sd_over_bound_of_fit"
SCAN_EFFICIENCY = "inversion_efficiency_of_scan"
SNR = "snr_95th_percentile"
KEPT = (VoxelStatus.MASKED, VoxelStatus.NO_SIGNAL, VoxelStatus.SATURATED)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class FreePosterior:
    """The posterior of every voxel on the real line: Gaussians of ln T1, ln PD and B.

    Attributes:
        mean: Of each; PD in the unit of the input.
        correction: Of the fit, in the frame of the features.
        log_sd: ln sd in that frame, a number even where there is no signal.
        sd: As the network predicts it, before calibration.
        features: The input of the network.
        fits: What they come from.
    """

    mean: Float[Tensor, "*voxels parameters"]
    correction: Float[Tensor, "*voxels parameters"]
    log_sd: Float[Tensor, "*voxels parameters"]
    sd: Float[Tensor, "*voxels parameters"]
    features: FitFeatures
    fits: TwoFits


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PosteriorT1(Estimator[Acquisition]):
    """Posterior median and 90 % interval of T1, PD and B.

    Attributes:
        network: The trained network.
        protocols: What it was trained for.
        intervals: Half-widths for T1, PD and B.
        fit: What it corrects.
        draws: Draws maps beside the intervals, for what regions have in common; None for none.
    """

    network: UNet
    protocols: ProtocolRange
    intervals: tuple[Conformal, Conformal, Conformal]
    fit: InversionRecoveryFit = DEFAULT_FIT
    draws: ResidualDraws | None = None

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """T1, PD and B."""
        return (T1, PD, B)

    def accept(self, acquisition: Acquisition) -> None:
        """Return if the fit takes the acquisition and the network was trained for its protocol.

        Raises:
            ProtocolError: Otherwise.
        """
        self.fit.accept(acquisition)
        self.protocols.check(acquisition, NAME)
        if "B" in acquisition.known:
            raise ProtocolError(
                "this network estimates the inversion efficiency; it was not trained with a given one",
                remedy="Omit the efficiency, or use --method ml.",
            )

    def __call__(self, acquisition: Acquisition, progress: Progress | None = None) -> ParameterMaps:
        """Fit, correct and calibrate every voxel inside the mask."""
        self.accept(acquisition)
        acquisition = _in_order(acquisition)
        free = self.infer(acquisition, progress)
        mean, sd = free.mean, free.sd
        widths = [
            sd[..., index] * interval.half_width(mean[..., 0])
            for index, interval in enumerate(self.intervals)
        ]
        reach = torch.stack(widths, dim=-1)
        values, lower, upper = (_positive(part) for part in (mean, mean - reach, mean + reach))
        unit = torch.stack([values[..., 0], values[..., 1], torch.ones_like(sd[..., 2])], dim=-1)
        std = reach / GAUSSIAN * unit
        misfit, status = self._judge(free)
        return assemble_maps(
            self.parameters,
            values,
            std,
            status,
            like=acquisition.signal,
            interval=(lower, upper),
            interval_level=LEVEL,
            draws=None if self.draws is None else self._draw(self.draws, free, reach / GAUSSIAN),
            misfit=misfit,
            noise_sd=free.fits.free.noise_sd,
            affine=acquisition.affine,
            notes={**free.fits.free.notes, "method": NAME, **_notes(free, std, status)},
        )

    def infer(self, acquisition: Acquisition, progress: Progress | None = None) -> FreePosterior:
        """Return the posterior on the real line, for calibration and for draws."""
        acquisition = _in_order(acquisition)
        fits = fit_twice(self.fit, acquisition, progress)
        features = fit_features(fits)
        slices = [as_slices(part) for part in (features.channels, features.scale)]
        pairs = zip(*(torch.split(part, 1) for part in slices), strict=True)
        with one_thread_per_operation() as n_threads, ThreadPoolExecutor(n_threads) as pool:
            answers = list(pool.map(self._evaluate, pairs))
        correction, log_sd = (
            from_slices(torch.cat(part), acquisition.voxels) for part in zip(*answers, strict=True)
        )
        return FreePosterior(
            mean=features.base + correction * features.scale,
            correction=correction,
            log_sd=log_sd,
            sd=torch.exp(log_sd) * features.scale,
            features=features,
            fits=fits,
        )

    def _draw(
        self, draws: ResidualDraws, free: FreePosterior, sd: Tensor
    ) -> list[Float[Tensor, "*voxels parameters"]]:
        """Return maps whose errors go together as those of neighbours do."""
        whole = [as_slices(part) for part in (free.features.channels, free.correction, free.log_sd)]
        shape = free.mean.shape[:-1]
        drawn = []
        for index, (channels, correction, log_sd) in enumerate(zip(*whole, strict=True)):
            drawn.append(draws(residual_inputs(channels[None], correction[None], log_sd[None]), index))
        residual = torch.stack(drawn, dim=1)
        return [_positive(free.mean + sd * from_slices(part, shape)) for part in residual]

    def _evaluate(self, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        torch.set_num_threads(1)
        top, left = _offset(pair[0], self.network.config.stride)
        channels, scale = (F.pad(part, (left, 0, top, 0)) for part in pair)
        with torch.no_grad():
            correction, log_sd = split_output(self.network(channels), channels, scale)
        return correction[:, :, top:, left:], log_sd[:, :, top:, left:]

    def _judge(self, free: FreePosterior) -> tuple[Tensor, UInt8[Tensor, "*voxels"]]:
        """Return the reduced chi-square at the estimated T1, and what is to be thought of each voxel."""
        acquisition, before = free.fits.acquisition, free.fits.free.status
        status = torch.full_like(before, int(VoxelStatus.OK))
        for kept in KEPT:
            status[before == kept] = int(kept)
        present = free.features.present
        misfit = torch.zeros(acquisition.voxels, device=before.device)
        degrees = acquisition.signal.shape[-1] - 2
        if free.fits.free.noise_sd:
            rss = self._residual(free, present)
            scale = free.fits.noise_scale[present] / free.fits.free.noise_sd
            misfit[present] = (rss * scale**2 / degrees).float()
        implausible = misfit * degrees > chi_square_above(IMPLAUSIBLE, degrees)
        status[implausible & (status == VoxelStatus.OK)] = VoxelStatus.IMPLAUSIBLE
        low, high = T1.free_range
        log_t1 = free.mean[..., 0]
        status[present & ~((log_t1 > low) & (log_t1 < high))] = VoxelStatus.OUT_OF_RANGE
        return misfit, status

    def _residual(self, free: FreePosterior, present: Tensor) -> Tensor:
        """Return the sum of squares that is left at the estimated T1, PD and B free."""
        acquisition = free.fits.acquisition
        data = acquisition.signal[present].double()
        timing = recovery_timing(acquisition.protocol, free.fits.complete, data)
        log_t1, b = free.mean[present][:, 0].double(), free.mean[present][:, 2].double()
        u, v, _, _ = recovery_basis(log_t1, timing)
        limits = (torch.tensor(B.lower).to(data), torch.tensor(B.upper).to(data))
        if acquisition.kind is not SignalKind.MAGNITUDE:
            return project(log_t1, data.T, timing, limits).rss
        model = u + b * v
        signs = torch.where(model < 0, -1.0, 1.0).to(data)
        # The sign of a volume near its null is open: noise, not B, may have decided it.
        nearest = model.abs().argmin(0, keepdim=True)
        other = signs.scatter(0, nearest, -signs.gather(0, nearest))
        result = [project(log_t1, some * data.T, timing, limits).rss for some in (signs, other)]
        return torch.minimum(*result)


def with_draws(estimator: PosteriorT1, n_draws: int, folder: Path | None = None) -> PosteriorT1:
    """Return the posterior with so many maps drawn beside its intervals.

    Raises:
        InputError: There are no weights for draws, or they belong to another posterior.
    """
    network, card = load_network(RESIDUAL_NAME, folder)
    check_base(card, load_weights(NAME, folder)[1].sha256)
    if not isinstance(network, TimeUNet):
        raise InputError(f"the card of {RESIDUAL_NAME} is of another network")
    draws = ResidualDraws(
        network=network,
        n_draws=n_draws,
        n_steps=int(card.calibration["n_steps"]),
        spread=float(card.calibration["spread"]),
    )
    return replace(estimator, draws=draws)


def _notes(
    free: FreePosterior, std: Float[Tensor, "*voxels parameters"], status: UInt8[Tensor, "*voxels"]
) -> dict[str, float]:
    """Return the nuisances of the scan, its SNR, and how the stated SD compares with the fit's bound."""
    fitted, nuisances = free.fits.free, free.fits.nuisances
    notes = {
        SCAN_EFFICIENCY: round(nuisances.scan_efficiency, 4),
        "inversion_time_error_s": round(nuisances.ti_error, 5),
        "share_of_voxels_that_determine_efficiency": round(nuisances.share, 3),
    }
    if not fitted.noise_sd:
        return notes
    clear = (status == VoxelStatus.OK) & (fitted.value("PD") > CLEAR_SNR * fitted.noise_sd)
    clear &= fitted.deviation("T1") > 0
    if bool(clear.any()):
        ratio = std[..., 0][clear] / fitted.deviation("T1")[clear]
        notes[SD_OVER_BOUND] = round(float(ratio.median()), 3)
        snr = free.fits.acquisition.signal[clear].abs().amax(-1) / fitted.noise_sd
        notes[SNR] = round(float(snr[:: max(1, len(snr) // N_QUANTILE)].quantile(0.95)), 1)
    return notes


def _offset(channels: Float[Tensor, "1 channels x y"], stride: int) -> tuple[int, int]:
    """Return how many voxels to put before a slice, so that the grid of the network lies by what is in it.

    A network that halves its image answers a little differently when the image is shifted by less than its
    stride. The middle (median) of the voxels with a clear signal goes onto the grid: cropping or padding
    the background then changes nothing.
    """
    clear = (channels[0, CLEAR] > CLEARLY) & (channels[0, PRESENT] > 0)
    if not bool(clear.any()):
        return 0, 0
    rows, columns = clear.nonzero(as_tuple=True)
    return int(-rows.median() % stride), int(-columns.median() % stride)


def _in_order(acquisition: Acquisition) -> Acquisition:
    """Return the volumes by rising TI, so that sums round alike in whatever order they came."""
    times = acquisition.protocol.require("inversion_time", NAME).tolist()
    order = sorted(range(len(times)), key=lambda volume: (times[volume], volume))
    return replace(
        acquisition, signal=acquisition.signal[..., order], protocol=acquisition.protocol.select(order)
    )


def _positive(free: Float[Tensor, "*voxels 3"]) -> Float[Tensor, "*voxels 3"]:
    """Bring (ln T1, ln PD, B) back from the real line."""
    return torch.stack([free[..., 0].exp(), free[..., 1].exp(), free[..., 2]], dim=-1)


WIDE, TOO_WIDE = 1.5, 2.5  # stated SD over the bound of the fit


@final
@dataclass(frozen=True, kw_only=True)
class PosteriorDoubts:
    """What speaks against the maps of the posterior.

    Attributes:
        fall_back: Why the fit is the better answer; empty if it is not.
        remarks: What a careful reader should know.
    """

    fall_back: str = ""
    remarks: tuple[str, ...] = ()


def posterior_doubts(maps: ParameterMaps, trained: ProtocolRange) -> PosteriorDoubts:
    """Compare what the posterior found of a scan with its training.

    Args:
        maps: Of `PosteriorT1`.
        trained: The ranges of its card.
    """
    efficiency, ratio, snr = (_number(maps, name) for name in (SCAN_EFFICIENCY, SD_OVER_BOUND, SNR))
    low, high = trained.efficiency
    if efficiency is not None and not low <= efficiency <= high:
        return PosteriorDoubts(
            fall_back=f"the inversion efficiency of this scan is {efficiency:.2f}, outside the range "
            f"{low:g} to {high:g} that the posterior was trained for"
        )
    if ratio is not None and ratio > TOO_WIDE and snr is not None and snr > trained.snr[1]:
        return PosteriorDoubts(
            fall_back=f"standard deviations of the posterior are {ratio:.1f} times the Cramér–Rao "
            f"bound of the fit, at an SNR of {snr:.0f} (trained up to {trained.snr[1]:g})"
        )
    remarks = []
    if ratio is not None and ratio > WIDE:
        remarks.append(
            f"standard deviations are {ratio:.1f} times the Cramér–Rao bound of the fit: noise, inversion "
            "efficiency or inconsistencies between the volumes differ from the training data; compare with "
            "--method ml"
        )
    if snr is not None and snr > trained.snr[1]:
        remarks.append(
            f"the SNR is {snr:.0f}, and the network was trained up to {trained.snr[1]:g}: "
            "standard deviations are too large, values are not affected"
        )
    return PosteriorDoubts(remarks=tuple(remarks))


def _number(maps: ParameterMaps, name: str) -> float | None:
    value = maps.notes.get(name)
    return None if value is None else float(value)
