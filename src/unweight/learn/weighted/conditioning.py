"""What a network is told of an image: its timings, and what they do to tissue.

A token holds, for TR, TE, TI, the end of the echo train, the flip angle, the length of an MPRAGE train and
the field strength, the logarithm and Fourier features of it (`nets.embedding`) and whether it is known;
which readout it was, and whether an inversion came first; and a fingerprint,

    F_k = ln S(θ_k) − ln S(θ_ref),     θ_k = (T1, T2) of nine waters from tissue to CSF,

the contrast that the timings give by the signal equation. Two protocols with the same fingerprint give the
same images, whatever their timings: this is what a network needs in order to serve protocols it never saw.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.weighting import READOUTS
from unweight.nets.embedding import log_fourier_features
from unweight.signals.weighted import COLUMN, weighted_signal

N_FREQUENCIES = 4
SPANS: dict[str, tuple[float, float]] = {
    "repetition_time": (0.2, 15.0),
    "echo_time": (0.001, 0.3),
    "inversion_time": (0.3, 4.0),
    "readout_time": (0.005, 0.6),
    "flip_angle": (0.05, 1.6),
    "train_duration": (0.3, 3.0),
    "field_strength": (1.0, 7.0),
}
FINGERPRINT = (
    (0.35, 0.06),
    (0.65, 0.07),
    (0.85, 0.07),
    (1.05, 0.09),
    (1.3, 0.11),
    (1.7, 0.11),
    (2.2, 0.2),
    (3.2, 0.6),
    (4.3, 1.9),
)
NAMES = ("T1w", "T2w", "FLAIR")
FEATURES_EACH = 2 + 2 * N_FREQUENCIES
N_TOKEN = len(SPANS) * FEATURES_EACH + len(READOUTS) + 1 + len(FINGERPRINT)
CONTRAST_FLOOR = -4.0
# An ordinary brain: between grey and white matter, whose T1 grows with the field by this power.
REFERENCE_T1, REFERENCE_T2, REFERENCE_PD = 1.15, 0.085, 0.77
FIELD_POWER = 0.38
Rows = Float[Tensor, "batch images timings"]
Fields = Float[Tensor, " batch"]


def tokens_of(rows: Rows, field_strength: Fields) -> Float[Tensor, "batch images token"]:
    """Return the token of each image.

    Args:
        rows: Timings, completed; NaN where a timing does not apply, or in all of a missing image.
        field_strength: [T]
    """
    field = field_strength[:, None].expand(rows.shape[:2])
    values = {name: rows[..., COLUMN[name]] for name in SPANS if name in COLUMN}
    values["train_duration"] = rows[..., COLUMN["echo_spacing"]] * rows[..., COLUMN["train_length"]]
    values["field_strength"] = field
    features = [_described(values[name], span) for name, span in SPANS.items()]
    kind = torch.stack([(rows[..., 0] == place).to(rows) for place in range(len(READOUTS))], dim=-1)
    inverts = torch.isfinite(values["inversion_time"]).to(rows)[..., None]
    return torch.cat([*features, kind, inverts, fingerprint(rows, field_strength)], dim=-1)


def name_tokens(n_images: int, batch: int) -> Float[Tensor, "batch images token"]:
    """Return tokens that tell which contrast each image is, in the order of NAMES, and nothing else."""
    token = torch.zeros(n_images, N_TOKEN)
    token[torch.arange(n_images), torch.arange(n_images)] = 1.0
    return token.expand(batch, n_images, N_TOKEN)


def fingerprint(rows: Rows, field_strength: Fields) -> Float[Tensor, "batch images waters"]:
    """Return what the timings do to nine waters, relative to an ordinary brain; 0 for missing images."""
    points = torch.tensor(FINGERPRINT).to(rows)
    signal = weighted_signal(points[:, 0], points[:, 1], torch.ones_like(points[:, 0]), rows[..., None, :])
    contrast = signal.log() - ln_reference(rows, field_strength)[..., None]
    return (contrast + math.log(REFERENCE_PD)).clamp(min=CONTRAST_FLOOR, max=-CONTRAST_FLOOR).nan_to_num()


def ln_reference(rows: Rows, field_strength: Fields) -> Float[Tensor, "batch images"]:
    """Return the logarithm of the signal of an ordinary brain; NaN for missing images."""
    t1 = reference_t1(field_strength)[:, None].to(rows)
    pd = torch.full_like(t1, REFERENCE_PD)
    return weighted_signal(t1, torch.full_like(t1, REFERENCE_T2), pd, rows).log()


def reference_t1(field_strength: Fields) -> Fields:
    """Return the T1 of an ordinary brain [s]."""
    return REFERENCE_T1 * (field_strength / 3.0) ** FIELD_POWER


def _described(values: Float[Tensor, "batch images"], span: tuple[float, float]) -> Tensor:
    there = torch.isfinite(values) & (values > 0)
    features = log_fourier_features(
        torch.where(there, values, span[0]), span=span, n_frequencies=N_FREQUENCIES
    )
    return torch.cat([features * there[..., None], there.to(values)[..., None]], dim=-1)
