"""How alike two images are where they have features: FSIM, of phase congruency and gradient.

    FSIM = Σ S_PC·S_G·PC_m / Σ PC_m,    PC_m = max(PC_x, PC_y),    S(a, b) = (2ab + T)/(a² + b² + T)

    PC = Σ_o max(E_o − T_o, 0) / Σ_o Σ_n |r_no|,    E_o = Σ_n (Re z_no − |Im z_no|),   z_no = r_no·conj(u_o)

r_no is the response to a log-Gabor filter of scale n and orientation o, four of each, real part even and
imaginary part odd, and u_o the phase of its sum over scales. PC is 1 where all scales have one phase, at
edges and lines, whatever their contrast; G is the magnitude of the Scharr gradient. T_o is what noise alone
would reach, from the median response at the finest scale. The median here is over the mask: zeros around
the brain say nothing of its noise. Slices whose shorter side has 384 voxels or more are made coarser first.

    log-Gabor: exp(−ln²(f/f_n) / (2·ln² 0.55)) · exp(−Δθ²/(2·σ_θ²)),   1/f_n = 6·2ⁿ voxels,  σ_θ = (π/4)/1.2

PC has no unit and hardly feels the data range, S_G does. Frequencies wrap around the image.

References: Zhang, Zhang, Mou, Zhang, IEEE Trans Image Process 20:2378, 2011 (FSIM; T is 0.85 for PC and 160
for G of a range of 0 to 255); Kovesi, Videre 1(3):1, 1999 (phase congruency and its noise).
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.metrics.compared_slices import alike, coarsened, compared_slices, gradient_magnitude

T_CONGRUENCY, T_GRADIENT = 0.85, 160 / 255**2
SCHARR = (3 / 16, 10 / 16, 3 / 16)
VIEWED_SIDE = 256  # [voxel]
N_SCALES, N_ORIENTATIONS = 4, 4
FINEST, SCALING = 6.0, 2.0  # [voxel], wavelength of each scale over that before
RADIAL_SD, ANGULAR_SD = 0.55, math.pi / N_ORIENTATIONS / 1.2
CUTOFF, CUTOFF_ORDER = 0.45, 15  # [1/voxel]; the corners of the spectrum are no direction
NOISE_SDS, NOISE_SCALE = 2.0, 1.7
EPSILON = 1e-4 / 255


def fsim(
    estimate: Float[Tensor, "x y slices"],
    truth: Float[Tensor, "x y slices"],
    inside: Bool[Tensor, "x y slices"],
    data_range: float,
) -> float:
    """Return the feature similarity, 0 to 1; NaN without a voxel or if neither image has a feature.

    Args:
        estimate: The image; a voxel without a finite value counts as 0.
        truth: The true image; what has no finite value there is outside the mask.
        inside: The mask.
        data_range: The largest value to expect, in the unit of the images.
    """
    factor = max(1, math.floor(min(estimate.shape[:2]) / VIEWED_SIDE + 0.5))
    similarity = importance = 0.0
    for pair in compared_slices(estimate, truth, inside, data_range):
        x, y, share = (coarsened(item, factor) for item in (pair.estimate, pair.truth, pair.weight))
        filters = log_gabor(x)
        pc_x, pc_y = (phase_congruency(item, share > 0, filters) for item in (x, y))
        gradient_x, gradient_y = (gradient_magnitude(item, SCHARR) for item in (x, y))
        weight = share * torch.maximum(pc_x, pc_y)
        local = alike(pc_x, pc_y, T_CONGRUENCY) * alike(gradient_x, gradient_y, T_GRADIENT)
        similarity += float((weight * local).sum())
        importance += float(weight.sum())
    return similarity / importance if importance else math.nan


def log_gabor(image: Float[Tensor, "slices x y"]) -> Float[Tensor, "orientations scales x y"]:
    """Return the filters for such images, over the frequencies of their Fourier transform."""
    f_x, f_y = (torch.fft.fftfreq(n, dtype=image.dtype, device=image.device) for n in image.shape[1:])
    radius = torch.hypot(f_x[:, None], f_y)
    radius[0, 0] = 1.0  # its logarithm is wanted; the filters are 0 there
    low_pass = 1 / (1 + (radius / CUTOFF) ** (2 * CUTOFF_ORDER))
    wavelength = FINEST * SCALING ** torch.arange(N_SCALES, dtype=image.dtype, device=image.device)
    octaves = torch.log(radius * wavelength[:, None, None])
    radial = low_pass * torch.exp(-(octaves**2) / (2 * math.log(RADIAL_SD) ** 2))
    radial[:, 0, 0] = 0.0
    angle = torch.atan2(-f_x[:, None], f_y)
    step = math.pi / N_ORIENTATIONS
    preferred = step * torch.arange(N_ORIENTATIONS, dtype=image.dtype, device=image.device)
    apart = angle - preferred[:, None, None]
    apart = torch.atan2(apart.sin(), apart.cos())
    return radial * torch.exp(-(apart**2) / (2 * ANGULAR_SD**2))[:, None]


def phase_congruency(
    image: Float[Tensor, "slices x y"],
    inside: Bool[Tensor, "slices x y"],
    filters: Float[Tensor, "orientations scales x y"],
) -> Float[Tensor, "slices x y"]:
    """Return the phase congruency, 0 to 1.

    Args:
        image: The slices, over their data range.
        inside: Where to estimate the noise: at least one voxel of each slice.
        filters: From `log_gabor`.
    """
    spectrum = torch.fft.fft2(image)[:, None]
    energy, amplitude = torch.zeros_like(image), torch.zeros_like(image)
    for scales in filters:
        response = torch.fft.ifft2(spectrum * scales)
        size = response.abs()
        total = response.sum(dim=1)
        phase = total / (total.abs() + EPSILON)
        turned = response * phase.conj()[:, None]
        result = (turned.real - turned.imag.abs()).sum(dim=1)
        noise = _noise_energy(size[:, 0], inside, scales)
        energy += (result - noise[:, None, None]).clamp(min=0.0)
        amplitude += size.sum(dim=1)
    return energy / (amplitude + EPSILON)


def _noise_energy(
    finest: Float[Tensor, "slices x y"],
    inside: Bool[Tensor, "slices x y"],
    scales: Float[Tensor, "scales x y"],
) -> Float[Tensor, " slices"]:
    """Return the energy that noise hardly exceeds: its mean and two standard deviations, over 1.7.

    The squared response to white noise of power p is exponential with a mean of p·Σ filter², so its median
    is ln 2 of that. The energy is about Rayleigh, with τ² = p·Σ (even part of the filters' sum)².
    """
    median = torch.where(inside, finest.square(), torch.nan).flatten(1).nanmedian(dim=1).values
    power = median / (math.log(2) * scales[0].square().sum())
    even = torch.fft.ifft2(scales.sum(dim=0)).real
    tau: Tensor = (power * even.square().sum() * even.numel()).sqrt()
    return tau * (math.sqrt(math.pi / 2) + NOISE_SDS * math.sqrt(2 - math.pi / 2)) / NOISE_SCALE
