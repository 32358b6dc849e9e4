"""How a T1w, T2w or FLAIR was made, from its sidecar and what the caller says.

TR, TE and TI are not required by BIDS; here they are, and what is absent is asked for by its name. TR of an
MPRAGE runs from inversion to inversion (`RepetitionTimePreparation`, else `RepetitionTime`), and
`RepetitionTimeExcitation` is then the time between excitations. Where a scanner writes the time between
excitations as `RepetitionTime`, that between inversions is computed from other fields. If they are absent,
a common value is assumed (`series.inversion_cycle`), and the weighting has the limits of what is common as
alternatives.

3D turbo spin echoes refocus with low angles that vary along the train. Siemens and Philips write the
nominal echo time of the centre of k-space, 0.25 to 0.6 s, and the contrast is that of a much shorter one,
which is estimated (`signals.variable_train`); GE writes the contrast-equivalent echo time, which is used as
it is.
"""

from dataclasses import dataclass, replace
from math import degrees, pi
from typing import final

import torch

from unweight.bids.series.inversion_cycle import (
    EstimatedCycle,
    advice_on_cycle,
    assumed_cycle,
    estimated_cycle,
    excitation_spacing,
    excitations_of_train,
    readout_repetition,
)
from unweight.bids.series.overrides import override
from unweight.bids.series.readout import (
    EXCITATION,
    described,
    is_prepared_gradient_train,
    scanning_codes,
)
from unweight.bids.sidecar import REPETITION_OF_INVERSION, Sidecar, Timing, timing_of
from unweight.core.errors import MissingValue, MissingValuesError, ProtocolError
from unweight.core.protocol import Protocol, protocol_from_values
from unweight.core.weighting import TRAIN_OVER_ECHO, Readout, Weighting
from unweight.signals.variable_train import EquivalentTrain, equivalent_train

CONTRASTS = ("T1w", "T2w", "FLAIR")
OPTIONS = {"repetition_time": "tr", "echo_time": "te", "inversion_time": "ti", "flip_angle": "flip"}
FIELDS = {
    "repetition_time": "RepetitionTime",
    "echo_time": "EchoTime",
    "inversion_time": "InversionTime",
    "flip_angle": "FlipAngle",
}
PREPARATION = "RepetitionTimePreparation"
LOW_ANGLES = (0.2, 0.8)  # [s] echo times that are the nominal ones of trains of low angles, in 3D images


@final
@dataclass(frozen=True, kw_only=True)
class GivenWeighting:
    """Fields of one image given by the caller; they win over its sidecar.

    Attributes:
        repetition_time: TR [s].
        echo_time: TE [s].
        inversion_time: TI [s].
        flip_angle: [degrees]
        readout: What was read out.
    """

    repetition_time: float | None = None
    echo_time: float | None = None
    inversion_time: float | None = None
    flip_angle: float | None = None
    readout: Readout | None = None


def weighting_from(contrast: str, sidecar: Sidecar, given: GivenWeighting) -> Weighting:
    """Return how an image was made.

    Args:
        contrast: One of CONTRASTS.
        sidecar: Of the image.
        given: What the caller says.

    Raises:
        InputError: A field has the wrong type.
        ProtocolError: A timing is absent or impossible, or the readout has no model here.
    """
    info = _with_given(sidecar, given)
    readout = given.readout or _readout(contrast, info)
    cycle = assumed = None
    if readout is Readout.MPRAGE:
        info, cycle = _between_inversions(contrast, _without_excitations(info, given), given)
        if cycle is not None:
            assumed = assumed_cycle(_with_given(sidecar, replace(given, repetition_time=None)))
        if assumed is not None:
            info = info.with_fields({**info.fields, PREPARATION: round(sum(assumed) / 2, 4)})
            cycle = None
    timing = timing_of(info)
    values = _needed(contrast, readout, timing, sidecar, cycle)
    if readout is Readout.MPRAGE:
        values |= _train(timing, excitation_spacing(sidecar), info)
    elif readout is Readout.TURBO_SPIN_ECHO:
        end = timing.readout_time if timing.readout_time is not None else _end_of_train(sidecar)
        values |= {} if end is None else {"readout_time": end}
        train = _low_angles(values["echo_time"], sidecar)
        if train is not None:
            values |= {
                "echo_time": train.echo_time,
                "nominal_echo_time": train.nominal_echo_time,
                "train_shape": train.shape,
                "readout_time": max(end or 0.0, TRAIN_OVER_ECHO * train.nominal_echo_time),
            }
    try:
        protocol = protocol_from_values(
            field_strength=timing.field_strength, **{name: [value] for name, value in values.items()}
        )
        alternatives = _alternatives(protocol, assumed or ())
        return Weighting(readout=readout, protocol=protocol, alternatives=alternatives)
    except ProtocolError as error:
        raise ProtocolError(error.problem, remedy=error.remedy, path=sidecar.image) from error


def estimated_repetition(contrast: str, sidecar: Sidecar, given: GivenWeighting) -> EstimatedCycle | None:
    """Return the time between inversions that `weighting_from` computed; None if it was given or is absent.

    Args:
        contrast: One of CONTRASTS.
        sidecar: Of the image.
        given: What the caller says.

    Raises:
        InputError: A field has the wrong type.
        ProtocolError: The readout has no model here.
    """
    info = _with_given(sidecar, given)
    readout = given.readout or _readout(contrast, info)
    if readout is not Readout.MPRAGE or given.repetition_time is not None:
        return None
    info = _without_excitations(info, given)
    return estimated_cycle(info) if readout_repetition(info) else None


def _alternatives(protocol: Protocol, cycles: tuple[float, ...]) -> tuple[Protocol, ...]:
    """Return the protocol with other times between inversions [s]."""
    return tuple(
        replace(protocol, repetition_time=torch.tensor([cycle], dtype=torch.float64)) for cycle in cycles
    )


def _low_angles(echo_time: float, sidecar: Sidecar) -> EquivalentTrain | None:
    """Return the train of low angles of an image, if its echo time is the nominal one of such a train."""
    if sidecar.fields.get("MRAcquisitionType") == "2D" or not LOW_ANGLES[0] <= echo_time <= LOW_ANGLES[1]:
        return None
    return equivalent_train(echo_time)


def _with_given(sidecar: Sidecar, given: GivenWeighting) -> Sidecar:
    """Return a sidecar with what the caller says in the place of its own fields."""
    times = {name: getattr(given, name) for name in ("repetition_time", "echo_time", "inversion_time")}
    info = override(sidecar, {name: value for name, value in times.items() if value is not None})
    if given.flip_angle is None:
        return info
    return info.with_fields({**info.fields, "FlipAngle": given.flip_angle})


def _without_excitations(info: Sidecar, given: GivenWeighting) -> Sidecar:
    """Return the sidecar of an MPRAGE without the time between excitations, if another field tells TR."""
    known = any(info.fields.get(name) is not None for name in (PREPARATION, "RepetitionTime"))
    if given.repetition_time is not None or not known or excitation_spacing(info) is None:
        return info
    return info.with_fields({name: value for name, value in info.fields.items() if name != EXCITATION})


def _between_inversions(
    contrast: str, sidecar: Sidecar, given: GivenWeighting
) -> tuple[Sidecar, MissingValue | None]:
    """Return the sidecar of an MPRAGE with the time between inversions, or what is to be asked for.

    Raises:
        ProtocolError: The caller gives the time between excitations.
    """
    label = readout_repetition(sidecar)
    if not label:
        return sidecar, None
    reason = f"{label} {sidecar.number(label):g} s of an MPRAGE is not the time between inversions"
    if given.repetition_time is not None:
        raise ProtocolError(
            reason,
            remedy=f"Give the time between inversions, 1 to 4 s, with --{contrast.lower()}-tr.",
            path=sidecar.image,
        )
    fields = {name: value for name, value in sidecar.fields.items() if name not in REPETITION_OF_INVERSION}
    estimate = estimated_cycle(sidecar)
    if estimate is not None:
        return sidecar.with_fields({**fields, PREPARATION: estimate.seconds}), None
    missing = MissingValue(
        field=PREPARATION,
        of=f"this {contrast}",
        option=f"--{contrast.lower()}-tr S",
        reason=f"{reason}; it seems to be that between excitations",
        advice=advice_on_cycle(sidecar),
    )
    return sidecar.with_fields(fields), missing


def _needed(
    contrast: str, readout: Readout, timing: Timing, sidecar: Sidecar, cycle: MissingValue | None
) -> dict[str, float]:
    """Return the timings that the readout cannot do without."""
    names = ["repetition_time", "echo_time"]
    if contrast == "FLAIR" or readout is Readout.MPRAGE:
        names.append("inversion_time")
    if readout is Readout.MPRAGE:
        names.append("flip_angle")
    values: dict[str, float] = {}
    missing: list[MissingValue] = []
    for name in names:
        value = getattr(timing, name)
        if value is None or (name == "inversion_time" and value == 0):
            field = FIELDS[name]
            if readout is Readout.MPRAGE and name == "repetition_time":
                field = PREPARATION
            option = f"--{contrast.lower()}-{OPTIONS[name]} {'DEG' if name == 'flip_angle' else 'S'}"
            asked = MissingValue(field=field, of=f"this {contrast}", option=option)
            missing.append(cycle if cycle is not None and field == PREPARATION else asked)
        else:
            values[name] = value
    if missing:
        raise MissingValuesError(missing, path=sidecar.image)
    if readout is not Readout.MPRAGE and timing.inversion_time:
        values["inversion_time"] = timing.inversion_time
    # In a turbo spin echo scanners write the refocusing angle there.
    if readout is Readout.SPIN_ECHO and timing.flip_angle is not None and timing.flip_angle <= pi / 2:
        values["flip_angle"] = timing.flip_angle
    return values


def _end_of_train(sidecar: Sidecar) -> float | None:
    """Return the time from excitation to the last echo, where a sidecar tells the spacing of echoes."""
    length, spacing = sidecar.number("EchoTrainLength"), sidecar.number("EchoSpacing")
    return length * spacing if length and spacing else None


def _train(timing: Timing, spacing: float | None, sidecar: Sidecar) -> dict[str, float]:
    """Return what is known of the train of an MPRAGE."""
    values: dict[str, float] = {}
    shots = sidecar.fields.get("NumberShots")
    between = timing.echo_spacing if timing.echo_spacing is not None else spacing
    if between is not None:
        values["echo_spacing"] = between
    if timing.train_length is not None:
        values["train_length"] = timing.train_length
    if isinstance(shots, int | float) and not isinstance(shots, bool):
        values.setdefault("train_length", float(shots))
    if isinstance(shots, list) and len(shots) == 2 and all(isinstance(shot, int | float) for shot in shots):
        values.setdefault("train_length", float(sum(shots)))
        values["centre_index"] = float(shots[0])
    if timing.centre_index is not None:
        values["centre_index"] = timing.centre_index
    length = excitations_of_train(sidecar)
    if length is not None and "train_length" not in values and _fits(length, between, timing):
        values["train_length"] = length
    return values


def _fits(length: float, spacing: float | None, timing: Timing) -> bool:
    """Whether a train with its middle at the centre of k-space lies between two inversions."""
    if spacing is None or not timing.inversion_time or not timing.repetition_time:
        return False
    half = length * spacing / 2
    return half < timing.inversion_time < timing.repetition_time - half


def _readout(contrast: str, sidecar: Sidecar) -> Readout:
    """Return what the sidecar says was read out.

    Raises:
        ProtocolError: A gradient echo without inversion, of which there is no model here.
    """
    codes, text = scanning_codes(sidecar), described(sidecar)
    inverted = bool(sidecar.fields.get("InversionTime"))
    gradient = "GR" in codes
    if "mp2rage" in text:
        raise ProtocolError(
            f"this {contrast} is an MP2RAGE image, which is not modelled",
            remedy="Give an MPRAGE or a spin echo, or omit this image.",
            path=sidecar.image,
        )
    trained = is_prepared_gradient_train(sidecar) or (inverted and (gradient or "SE" not in codes))
    if contrast == "T1w" and trained:
        return Readout.MPRAGE
    if gradient and "SE" not in codes:
        raise ProtocolError(
            f"this {contrast} is a gradient echo without inversion, which is not modelled",
            remedy="Give a spin echo, turbo spin echo or MPRAGE; if this image is one, give its readout "
            f"with --{contrast.lower()}-readout.",
            path=sidecar.origin("ScanningSequence"),
        )
    length = sidecar.number("EchoTrainLength")
    if contrast == "T1w":
        return Readout.TURBO_SPIN_ECHO if length is not None and length > 1 else Readout.SPIN_ECHO
    single = length == 1 and contrast == "T2w"
    return Readout.SPIN_ECHO if single else Readout.TURBO_SPIN_ECHO


def told_of(weighting: Weighting) -> dict[str, float | str]:
    """Return readout and timings as BIDS names them, for sidecars; angles in degrees."""
    info: dict[str, float | str] = {"Readout": str(weighting.readout)}
    for name, field in FIELDS.items():
        value = weighting.time(name)
        if value is not None:
            info[field] = round(degrees(value), 6) if name == "flip_angle" else round(value, 9)
    nominal = weighting.time("nominal_echo_time")
    return info if nominal is None else {**info, "NominalEchoTime": round(nominal, 9)}
