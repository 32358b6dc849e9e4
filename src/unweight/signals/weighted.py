"""The signal of a weighted image whatever its readout, for many images and protocols at once.

Timings differ from element to element, so that a batch of examinations is one call; the recovery is that of
`spin_echo`, `flair` and `mprage`, which see. With E(t) = exp(−t/T1), η = B − 1 and B = 1.96:

    spin echo         PD · sin α · [1 − 2·E(TR − TE/2) + E(TR)] / [1 + cos α·E(TR)] · exp(−TE/T2)
    turbo spin echo   PD · sin α · [1 − E(TR − t_end)] · exp(−TE/T2)
    with inversion    PD · [1 − B·E(TI) + η·E(TR − t_end)] · exp(−TE/T2)
    MPRAGE            PD · m(T1) · sin α · exp(−TE/T2)

and in trains of low refocusing angles the decay of `variable_train` in the place of exp(−TE/T2).

Of the decay in an MPRAGE, exp(−TE·R2*), only the part that T2 explains is known here; at its TE of 2 to
4 ms the rest is a few per cent, the same in all tissue but the deep grey nuclei. `ln_recovery` is the part
that depends on T1: the logarithm of a signal is ln PD + ln_recovery(T1) − TE/T2, linear in ln PD and 1/T2.
In trains of low angles that is so for water whose T2 is T1/11; off that line it is an approximation.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp

from unweight.core.protocol import PER_VOLUME
from unweight.core.weighting import READOUTS, Readout
from unweight.signals.flair import inverted_recovery
from unweight.signals.mprage import Train, central_magnetisation
from unweight.signals.spin_echo import single_echo_recovery
from unweight.signals.variable_train import ln_train_decay, train_scale

EFFICIENCY = 1.96
FLOOR = 1e-4  # of the recovered magnetisation: an image is never darker than that
T1_OVER_T2 = 11.0  # of ordinary water in the brain
COLUMN = {name: place + 1 for place, name in enumerate(PER_VOLUME)}
N_TIMINGS = len(PER_VOLUME) + 1
Rows = Float[Tensor, "*#batch timings"]


def echo_time_of(rows: Float[Tensor, "*rows timings"]) -> Float[Tensor, "*rows"]:
    """Return TE of each row of timings [s]."""
    return rows[..., COLUMN["echo_time"]]


def recovery(t1: Float[Tensor, "*#batch"], rows: Rows) -> Float[Tensor, "*batch"]:
    """Return what of the magnetisation is read, before decay; negative before an inversion's null.

    Args:
        t1: T1 [s].
        rows: Timings as `Weighting.row` gives them, completed; the other axes broadcast against T1.
    """
    timing = {name: rows[..., column] for name, column in COLUMN.items()}
    repeat, echo, invert = (timing[name] for name in ("repetition_time", "echo_time", "inversion_time"))
    alpha = timing["flip_angle"].nan_to_num(math.pi / 2)
    end = timing["readout_time"].nan_to_num(0.0)
    single = single_echo_recovery(t1, repeat, echo, alpha)
    # A turbo spin echo is one with an inversion that does nothing.
    train, nulled = (
        inverted_recovery(t1, invert.nan_to_num(0.0), repeat - end, b) for b in (0.0, EFFICIENCY)
    )
    kind = rows[..., 0].expand(single.shape)
    spin = torch.where(kind == READOUTS.index(Readout.SPIN_ECHO), single, train) * torch.sin(alpha)
    echoes = torch.where(torch.isnan(invert), spin, nulled)
    return torch.where(kind == READOUTS.index(Readout.MPRAGE), _mprage(t1, timing, alpha), echoes)


def ln_recovery(t1: Float[Tensor, "*#batch"], rows: Rows) -> Float[Tensor, "*batch"]:
    """Return the logarithm of the size of the recovered magnetisation, with all that depends on T1."""
    result: Tensor = recovery(t1, rows).abs().clamp(min=FLOOR).log()
    if not _has_low_angles(rows):
        return result
    t2 = t1 / T1_OVER_T2
    return result + ln_decay(t1, t2, rows) + echo_time_of(rows) / t2


def ln_decay(
    t1: Float[Tensor, "*#batch"], t2: Float[Tensor, "*#batch"], rows: Rows
) -> Float[Tensor, "*batch"]:
    """Return −TE/T2, or the decay in a train of low angles.

    Args:
        t1: [s]
        t2: [s]
        rows: As for `recovery`.
    """
    plain = -echo_time_of(rows) / t2
    if not _has_low_angles(rows):
        return plain
    echo, nominal, shape = _train_of(rows)
    train = ln_train_decay(t1, t2, echo, nominal.nan_to_num(1.0), shape.nan_to_num(1.0))
    return torch.where(torch.isfinite(nominal), train, plain)


def _train_of(rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Return TE and nominal TE [s] and shape of each row; NaN where the angles are not low."""
    return echo_time_of(rows), rows[..., COLUMN["nominal_echo_time"]], rows[..., COLUMN["train_shape"]]


def _has_low_angles(rows: Rows) -> bool:
    return bool(torch.isfinite(rows[..., COLUMN["nominal_echo_time"]]).any())


def weighted_signal(
    t1: Float[Tensor, "*#batch"], t2: Float[Tensor, "*#batch"], pd: Float[Tensor, "*#batch"], rows: Rows
) -> Float[Tensor, "*batch"]:
    """Return the magnitude of the signal.

    Args:
        t1: [s]
        t2: [s]
        pd: In any unit.
        rows: As for `recovery`.
    """
    return pd * recovery(t1, rows).abs() * torch.exp(ln_decay(t1, t2, rows))


def signal_with_deviation(
    theta: Float[Tensor, "*#batch 3"], std: Float[Tensor, "*#batch 3"], rows: Rows
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Return the magnitude of the signal, and its standard deviation to first order.

        SD² = (∂S/∂T1 · SD(T1))² + (∂S/∂T2 · SD(T2))² + (∂S/∂PD · SD(PD))²

    Errors of the three are treated as independent. The derivative of the recovery is exact, by forward-mode
    differentiation; those of decay and PD are written out. Close to the null of an inversion the magnitude
    folds, and a first-order SD is only a scale there.

    Args:
        theta: T1 [s], T2 [s] and PD.
        std: Standard deviation of each, in the same units.
        rows: As for `recovery`.
    """
    t1, t2, pd = theta.unbind(-1)
    derived = jvp(lambda value: recovery(value, rows), (t1,), (torch.ones_like(t1),))
    regained, slope = derived[0], derived[1]
    echo = echo_time_of(rows)
    decay = torch.exp(ln_decay(t1, t2, rows))
    if _has_low_angles(rows):
        train_slope, echo = _slopes_of_decay(t1, t2, rows)
        slope = slope + regained * train_slope
    gradient = torch.stack([pd * slope, pd * regained * echo / t2**2, regained], dim=-1) * decay[..., None]
    return pd * regained.abs() * decay, (gradient * std).square().sum(dim=-1).sqrt()


def _slopes_of_decay(t1: Tensor, t2: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Return the derivatives of the decay with respect to T1 [1/s], and to −1/T2 [s]."""
    echo, nominal, shape = _train_of(rows)
    low = torch.isfinite(nominal)
    length, form = nominal.nan_to_num(1.0), shape.nan_to_num(1.0)
    scale = train_scale(echo, length, form)
    across = form * scale / (1 + scale * (1 / t2 - 1 / t1))
    slope = (length - across) / t1.square()
    return torch.where(low, slope, torch.zeros_like(slope)), torch.where(low, across, echo)


def _mprage(t1: Tensor, timing: dict[str, Tensor], alpha: Tensor) -> Tensor:
    """Return the magnetisation that the central excitation turns, times sin α (see `mprage`)."""
    # Where it is no MPRAGE some harmless train stands in: what is not chosen must have a gradient, too.
    spacing, pulses, centre = (
        timing[name].nan_to_num(1e-3) for name in ("echo_spacing", "train_length", "centre_index")
    )
    alpha = torch.where(torch.isnan(timing["echo_spacing"]), 0.1, alpha)
    before = timing["inversion_time"].nan_to_num(0.0) - centre * spacing
    after = timing["repetition_time"] - before - pulses * spacing
    train = Train(before=before, spacing=spacing, pulses=pulses, centre=centre, after=after, angle=alpha)
    return central_magnetisation(t1, train, EFFICIENCY - 1) * torch.sin(alpha)
