"""Priors over protocols, and the split into trained and held-out cells.

Random protocols, all of them legal: what a scanner can run, far wider than what is usual.

Each draw goes from the readout outwards: echo spacing and train first, then inversion times, then a
repetition time that has room for both.

Which protocols are kept from training, decided by their timings once and for all.

TR, TE and TI of an image are laid on a grid of steps of 10 % in each; one cell in ten, by the SHA-256 of
its place and readout, is held out. A training draws no image of a held-out cell, so that an examination
whose images all lie in such cells differs by its timings from every examination that was trained on,
although each timing by itself lies within the range.
"""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import final

import torch

from unweight.core.errors import UsageError
from unweight.core.protocol import protocol_from_values
from unweight.core.weighting import Weighting
from unweight.signals.variable_train import equivalent_train
from unweight.synth.protocols.standard import (
    FLAIR,
    MPRAGE,
    SPIN_ECHO,
    Scan,
    echo_scan,
    inversion_scan,
    weighted_scan,
)
from unweight.synth.sampling import Ends, bernoulli, draw_count, draw_log_uniform, draw_uniform
from unweight.synth.scanner.blur import EchoOrder, EchoTrain

# The shortest pause between the end of a readout and the next inversion [s].
PAUSE = 0.02
FLUID_T1 = 4.3


@final
@dataclass(frozen=True, kw_only=True)
class InversionPrior:
    """Random inversion recovery.

    The times lie between a short and a long one, from evenly to very unevenly spread.

    Attributes:
        n_inversions: Fewest and most inversion times.
        shortest: First TI [s].
        longest: Last TI [s].
        repetition_time: TR [s]; never shorter than the longest TI and the readout need.
        fast: Probability of a fast spin echo (2 to 64 echoes) instead of one echo.
        echo_spacing: Between echoes, or TE of the one echo [s].
        field_strengths: One of them is drawn [T].
    """

    n_inversions: tuple[int, int] = (4, 12)
    shortest: Ends = (0.03, 0.15)
    longest: Ends = (1.2, 4.0)
    repetition_time: Ends = (2.5, 15.0)
    fast: float = 0.7
    echo_spacing: Ends = (0.005, 0.015)
    field_strengths: tuple[float, ...] = (1.5, 3.0)

    def __post_init__(self) -> None:
        if not 2 <= self.n_inversions[0] <= self.n_inversions[1]:
            raise UsageError(f"from {self.n_inversions[0]} to {self.n_inversions[1]} inversion times")
        if self.shortest[1] >= self.longest[0]:
            raise UsageError("the shortest and the longest inversion time overlap")
        if self.longest[1] + 64 * self.echo_spacing[1] + PAUSE > self.repetition_time[1]:
            raise UsageError(
                "the longest inversion time and the readout do not fit into the longest repetition time",
                remedy="Raise the upper end of repetition_time.",
            )


@final
@dataclass(frozen=True, kw_only=True)
class ContrastPrior:
    """Random T1w, T2w and FLAIR of one examination.

    Attributes:
        field_strengths: One of them is drawn [T].
        mprage: Probability that T1w is an MPRAGE; else it is a spin echo.
        t1w_fast: Probability that a spin-echo T1w has a train of 2 to 4 echoes.
        t1w_repetition_time: TR of the T1w spin echo [s].
        t1w_echo_time: TE of the T1w spin echo [s].
        t2w_repetition_time: TR of T2w [s].
        flair_repetition_time: TR of FLAIR [s].
        long_echo_time: TE of T2w and FLAIR [s].
        echo_spacing: Of the trains of T2w and FLAIR [s].
        fluid_null: TI of FLAIR over the one that nulls fluid [1].
        mprage_inversion_time: Shortest TI of an MPRAGE [s].
        low_angles: Probability that T2w, and independently FLAIR, is a 3D turbo spin echo with a long
            train of low refocusing angles.
        nominal_echo_time: From the excitation to the centre of k-space in such a train [s].
        low_angle_t2w_repetition_time: TR of T2w with such a train [s].
        low_angle_flair_repetition_time: TR of FLAIR with such a train [s].
    """

    field_strengths: tuple[float, ...] = (1.5, 3.0)
    mprage: float = 0.5
    t1w_fast: float = 0.3
    t1w_repetition_time: Ends = (0.3, 1.0)
    t1w_echo_time: Ends = (0.006, 0.025)
    t2w_repetition_time: Ends = (2.0, 9.0)
    flair_repetition_time: Ends = (5.0, 12.0)
    long_echo_time: Ends = (0.06, 0.15)
    echo_spacing: Ends = (0.005, 0.015)
    fluid_null: Ends = (0.85, 1.1)
    mprage_inversion_time: float = 0.7
    low_angles: float = 0.0
    nominal_echo_time: Ends = (0.22, 0.65)
    low_angle_t2w_repetition_time: Ends = (2.0, 6.0)
    low_angle_flair_repetition_time: Ends = (3.5, 9.0)


@final
@dataclass(frozen=True, kw_only=True)
class GradientEchoPrior:
    """Random multi-echo gradient echo.

    Attributes:
        n_echoes: Fewest and most echoes.
        first_echo: TE of the first [s].
        spacing: Between echoes [s].
        last_echo: Longest TE that is allowed [s].
        dead_time: From the last echo to the next excitation [s].
        flip_angle: Nominal [rad].
        bipolar: Probability that every other echo is read backwards.
        field_strengths: One of them is drawn [T].
    """

    n_echoes: tuple[int, int] = (3, 12)
    first_echo: Ends = (0.0015, 0.009)
    spacing: Ends = (0.0015, 0.009)
    last_echo: float = 0.06
    dead_time: Ends = (0.002, 0.015)
    flip_angle: Ends = (math.radians(6.0), math.radians(30.0))
    bipolar: float = 0.5
    field_strengths: tuple[float, ...] = (1.5, 3.0)

    def __post_init__(self) -> None:
        most = self.n_echoes[1]
        if not 1 <= self.n_echoes[0] <= most:
            raise UsageError(f"from {self.n_echoes[0]} to {most} echoes")
        if self.first_echo[1] + (most - 1) * self.spacing[0] > self.last_echo:
            raise UsageError(
                f"{most} echoes do not fit into {self.last_echo:g} s",
                remedy="Raise last_echo, or ask for fewer.",
            )


def draw_inversions(prior: InversionPrior, generator: torch.Generator) -> Scan:
    """Draw an inversion-recovery scan."""
    times = _draw_inversion_times(prior, generator)
    n_echoes = 1
    if bernoulli(prior.fast, generator):
        n_echoes = round(draw_log_uniform((2.0, 64.0), generator))
    train = EchoTrain(n_echoes=n_echoes, echo_spacing=draw_log_uniform(prior.echo_spacing, generator))
    needed = max(prior.repetition_time[0], times[-1] + train.duration + PAUSE)
    repetition_time = (needed, prior.repetition_time[1])
    return inversion_scan(
        times,
        draw_log_uniform(repetition_time, generator),
        train,
        _draw_one(prior.field_strengths, generator),
    )


def draw_contrasts(prior: ContrastPrior, generator: torch.Generator) -> tuple[Scan, Scan, Scan]:
    """Draw T1w, T2w and FLAIR at one field."""
    field = _draw_one(prior.field_strengths, generator)
    if bernoulli(prior.mprage, generator):
        t1w = draw_mprage(field, generator, prior.mprage_inversion_time)
    else:
        t1w = _draw_spin_echo(prior, field, generator)
    return t1w, _draw_t2w(prior, field, generator), _draw_flair(prior, field, generator)


def with_drawn_design(scan: Scan, generator: torch.Generator) -> Scan:
    """Return the scan with another design of its train of low angles, or unchanged if it has none.

    The equivalent echo time is drawn between those of the extreme designs of `signals.variable_train`,
    evenly in its logarithm.
    """
    nominal = scan.protocol.nominal_echo_time
    if nominal is None:
        return scan
    design = equivalent_train(float(nominal[0]))
    echo_time = draw_log_uniform((design.lowest, design.highest), generator)
    protocol = replace(scan.protocol, echo_time=torch.tensor([echo_time], dtype=torch.float64))
    return replace(scan, protocol=protocol)


def fluid_null(repetition_time: float, train_end: float) -> float:
    """Return the TI at which fluid is nulled [s].

    Args:
        repetition_time: From inversion to inversion [s].
        train_end: From the excitation to the last echo [s].
    """
    left = math.exp(-(repetition_time - train_end) / FLUID_T1)
    return FLUID_T1 * math.log(2 / (1 + left))


def draw_mprage(field_strength: float, generator: torch.Generator, shortest_inversion: float = 0.7) -> Scan:
    """Draw an MPRAGE: 96 to 256 excitations of 5° to 15°, 5 to 10 ms apart.

    Args:
        field_strength: [T]
        generator: For all that is drawn.
        shortest_inversion: Shortest TI [s].
    """
    spacing = draw_uniform((0.005, 0.010), generator)
    pulses = draw_count(96, 256, generator)
    centre = round(pulses * draw_uniform((0.25, 0.6), generator))
    earliest = max(shortest_inversion, centre * spacing + PAUSE)
    inversion_time = draw_uniform((earliest, max(1.2, earliest + 0.1)), generator)
    shortest = max(1.4, inversion_time + (pulses - centre) * spacing + PAUSE)
    return Scan(
        name="T1w",
        model=MPRAGE,
        protocol=protocol_from_values(
            repetition_time=[draw_uniform((shortest, max(3.0, shortest + 0.3)), generator)],
            inversion_time=[inversion_time],
            echo_time=[draw_uniform((0.0015, 0.5 * spacing), generator)],
            flip_angle=[draw_uniform((math.radians(5.0), math.radians(15.0)), generator)],
            echo_spacing=[spacing],
            train_length=[pulses],
            centre_index=[centre],
            field_strength=field_strength,
        ),
    )


def draw_echoes(prior: GradientEchoPrior, generator: torch.Generator) -> Scan:
    """Draw a multi-echo gradient echo with even spacing."""
    n = draw_count(*prior.n_echoes, generator)
    first = draw_uniform(prior.first_echo, generator)
    room = (prior.last_echo - first) / max(n - 1, 1)
    spacing = draw_uniform((prior.spacing[0], min(prior.spacing[1], room)), generator)
    times = [first + echo * spacing for echo in range(n)]
    return echo_scan(
        times,
        times[-1] + draw_uniform(prior.dead_time, generator),
        draw_uniform(prior.flip_angle, generator),
        bipolar=bernoulli(prior.bipolar, generator),
        field_strength=_draw_one(prior.field_strengths, generator),
    )


def _draw_inversion_times(prior: InversionPrior, generator: torch.Generator) -> list[float]:
    """Draw strictly rising times: even places in the logarithm, bent, then jittered."""
    n = draw_count(*prior.n_inversions, generator)
    first, last = draw_log_uniform(prior.shortest, generator), draw_log_uniform(prior.longest, generator)
    bend = draw_log_uniform((0.5, 2.0), generator)
    jitter = draw_uniform((0.0, 0.49), generator)
    each = (-jitter, jitter)
    inner = [((place + draw_uniform(each, generator)) / (n - 1)) ** bend for place in range(1, n - 1)]
    return [first * (last / first) ** place for place in (0.0, *inner, 1.0)]


def _draw_spin_echo(prior: ContrastPrior, field: float, generator: torch.Generator) -> Scan:
    """Draw a T1w spin echo of 60° to 90° with one echo, or of 90° with a few."""
    if bernoulli(prior.t1w_fast, generator):
        n_echoes = draw_count(2, 4, generator)
        spacing = draw_uniform((max(prior.t1w_echo_time[0], 0.006), 0.012), generator)
        train = EchoTrain(n_echoes=n_echoes, echo_spacing=spacing)
        repetition_time = draw_uniform(prior.t1w_repetition_time, generator)
        return weighted_scan("T1w", repetition_time, 1, train, field_strength=field)
    return Scan(
        name="T1w",
        model=SPIN_ECHO,
        protocol=protocol_from_values(
            repetition_time=[draw_uniform(prior.t1w_repetition_time, generator)],
            echo_time=[draw_uniform(prior.t1w_echo_time, generator)],
            flip_angle=[draw_uniform((math.pi / 3, math.pi / 2), generator)],
            field_strength=field,
        ),
    )


def _draw_t2w(prior: ContrastPrior, field: float, generator: torch.Generator) -> Scan:
    if _has_low_angles(prior, generator):
        return _draw_low_angles("T2w", prior, field, generator)
    train, centre = _draw_train(prior, generator)
    repetition_time = draw_uniform(prior.t2w_repetition_time, generator)
    return weighted_scan("T2w", repetition_time, centre, train, field_strength=field)


def _draw_flair(prior: ContrastPrior, field: float, generator: torch.Generator) -> Scan:
    """Draw a FLAIR whose TI is near the one that nulls fluid at its TR."""
    if _has_low_angles(prior, generator):
        return _draw_low_angles("FLAIR", prior, field, generator)
    train, centre = _draw_train(prior, generator)
    repetition_time = draw_uniform(prior.flair_repetition_time, generator)
    return weighted_scan(
        "FLAIR",
        repetition_time,
        centre,
        train,
        inversion_time=_near_null(prior, repetition_time, train.duration, generator),
        field_strength=field,
    )


def _near_null(
    prior: ContrastPrior, repetition_time: float, train_end: float, generator: torch.Generator
) -> float:
    return fluid_null(repetition_time, train_end) * draw_uniform(prior.fluid_null, generator)


def _has_low_angles(prior: ContrastPrior, generator: torch.Generator) -> bool:
    return prior.low_angles > 0 and bernoulli(prior.low_angles, generator)


def _draw_low_angles(name: str, prior: ContrastPrior, field: float, generator: torch.Generator) -> Scan:
    """Draw a long train of low angles, half way through which the centre of k-space is acquired.

    The echo time is that of the design that is assumed where the header does not contain it.
    """
    design = equivalent_train(round(draw_uniform(prior.nominal_echo_time, generator), 2))
    inverts = name == "FLAIR"
    longest = prior.low_angle_flair_repetition_time if inverts else prior.low_angle_t2w_repetition_time
    repetition_time = draw_uniform(longest, generator)
    end = 2 * design.nominal_echo_time
    inversion_time = _near_null(prior, repetition_time, end, generator) if inverts else None
    return Scan(
        name=name,
        model=FLAIR if inverts else SPIN_ECHO,
        protocol=protocol_from_values(
            repetition_time=[repetition_time],
            echo_time=[design.echo_time],
            inversion_time=None if inversion_time is None else [inversion_time],
            readout_time=[end],
            nominal_echo_time=[design.nominal_echo_time],
            train_shape=[design.shape],
            field_strength=field,
        ),
    )


def _draw_train(prior: ContrastPrior, generator: torch.Generator) -> tuple[EchoTrain, int]:
    """Draw a train in linear order, and its middle echo, from 1, which fills the centre of k-space."""
    spacing = draw_log_uniform(prior.echo_spacing, generator)
    centre = max(1, round(draw_uniform(prior.long_echo_time, generator) / spacing))
    n_echoes = draw_count(max(1, 2 * centre - 2), 2 * centre - 1, generator)
    return EchoTrain(n_echoes=n_echoes, echo_spacing=spacing, order=EchoOrder.LINEAR), centre


def _draw_one(values: tuple[float, ...], generator: torch.Generator) -> float:
    return values[draw_count(0, len(values) - 1, generator)]


STEP = 0.1  # of the logarithm of a time
ONE_IN = 10
SHORTEST = 1e-6  # [s]
TIMINGS = ("repetition_time", "echo_time", "inversion_time")


def is_held_out(weighting: Weighting) -> bool:
    """Return whether an image with these timings is kept from training."""
    times = (weighting.time(name) for name in TIMINGS)
    cell = "|".join(
        "-" if time is None else str(math.floor(math.log(max(time, SHORTEST)) / STEP)) for time in times
    )
    digest = hashlib.sha256(f"{weighting.readout}|{cell}".encode()).digest()
    return int.from_bytes(digest[:8], "little") % ONE_IN == 0
