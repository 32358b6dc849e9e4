"""How the volumes of an acquisition were timed, in SI units.

Timings have the volumes on their last axis. One protocol for all voxels has no other axis; where timings
differ from voxel to voxel, or from element to element of a batch, the axes before it are those of the
voxels, and broadcast against them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import ProtocolError

# Above these a time is taken for milliseconds written where seconds belong, and refused.
LONGEST_PLAUSIBLE = {
    "echo_time": 1.0,
    "readout_time": 5.0,
    "nominal_echo_time": 1.5,
    "echo_spacing": 1.0,
    "inversion_time": 20.0,
    "repetition_time": 60.0,
}
PER_VOLUME = (
    "repetition_time",
    "echo_time",
    "inversion_time",
    "flip_angle",
    "readout_time",
    "echo_spacing",
    "train_length",
    "centre_index",
    "nominal_echo_time",
    "train_shape",
)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Protocol:
    """Timings of an acquisition, one value per volume; what is not known is None.

    Attributes:
        repetition_time: From one inversion or excitation to the next of the same slice [s].
        echo_time: Effective echo time [s].
        inversion_time: From inversion to excitation (to the centre of k-space for MPRAGE) [s].
        flip_angle: Excitation flip angle [rad].
        readout_time: From excitation to the last refocused echo of a spin-echo train, after
            which the longitudinal magnetisation recovers undisturbed [s].
        echo_spacing: Between successive excitations of an MPRAGE train [s].
        train_length: Excitations per MPRAGE train.
        centre_index: Excitations before the one that fills the centre of k-space.
        nominal_echo_time: From the excitation to the centre of k-space in a train of low refocusing angles,
            whose contrast is that of a spin echo at `echo_time` [s]; see `signals.variable_train`.
        train_shape: Of the times that the signal of such a train spends across the field [1].
        field_strength: Static field [T].
    """

    # Volumes last, all of one length; that is checked here, with a message, so the types leave it open.
    repetition_time: Float[Tensor, "..."] | None = None
    echo_time: Float[Tensor, "..."] | None = None
    inversion_time: Float[Tensor, "..."] | None = None
    flip_angle: Float[Tensor, "..."] | None = None
    readout_time: Float[Tensor, "..."] | None = None
    echo_spacing: Float[Tensor, "..."] | None = None
    train_length: Float[Tensor, "..."] | None = None
    centre_index: Float[Tensor, "..."] | None = None
    nominal_echo_time: Float[Tensor, "..."] | None = None
    train_shape: Float[Tensor, "..."] | None = None
    field_strength: float | None = None

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in PER_VOLUME if getattr(self, name) is not None}
        if not given:
            raise ProtocolError(
                "a protocol without any timing",
                remedy="Give at least one of " + ", ".join(PER_VOLUME) + ".",
            )
        lengths = {name: value.shape[-1] if value.ndim else 0 for name, value in given.items()}
        if len(set(lengths.values())) > 1:
            text = ", ".join(f"{name} has {count}" for name, count in lengths.items())
            raise ProtocolError(
                f"the timings disagree about the number of volumes: {text}",
                remedy="Give one value per volume for each.",
            )
        for name, value in given.items():
            _check_values(name, value)
        _ = self.voxels
        _check_order(self)

    @property
    def n_volumes(self) -> int:
        """Number of volumes the timings describe."""
        return next(
            int(getattr(self, name).shape[-1]) for name in PER_VOLUME if getattr(self, name) is not None
        )

    @property
    def voxels(self) -> torch.Size:
        """Shape of the axes before that of the volumes; empty if all voxels have the same timings.

        Raises:
            ProtocolError: Those of the timings do not fit each other.
        """
        values = (getattr(self, name) for name in PER_VOLUME)
        shapes = [value.shape[:-1] for value in values if value is not None]
        try:
            return torch.Size(np.broadcast_shapes(*shapes))  # that of torch imports sympy, which is slow
        except ValueError as error:
            raise ProtocolError(
                f"the timings differ in their voxels: {', '.join(str(tuple(s)) for s in shapes)}",
                remedy="Give each for all voxels at once, or for the same voxels.",
            ) from error

    def require(self, name: str, by: str) -> Float[Tensor, "*voxels volumes"]:
        """Return one timing, or say who needs it.

        Raises:
            ProtocolError: The protocol does not give it.
        """
        value = getattr(self, name)
        if not isinstance(value, Tensor):
            raise ProtocolError(
                f"{by} needs {name}, which this protocol does not give",
                remedy=f"Add {name} (one value per volume, SI units).",
            )
        return value

    def select(self, volumes: Sequence[int]) -> "Protocol":
        """Return the protocol of these volumes, in this order."""
        index = torch.as_tensor(list(volumes), dtype=torch.long)
        return self._each(lambda value: value[..., index])

    def at(self, voxels: slice | Tensor | tuple[slice | int | None, ...]) -> "Protocol":
        """Return the protocol of these voxels, chosen from its leading axes; itself if it has none."""
        if not self.voxels:
            return self
        shape = (*self.voxels, self.n_volumes)
        return self._each(lambda value: value.expand(shape)[voxels])

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Protocol":
        """Return the protocol with each known timing changed."""
        values = {name: getattr(self, name) for name in PER_VOLUME}
        changed: dict[str, Any] = {
            name: change(value) for name, value in values.items() if value is not None
        }
        return replace(self, **changed)

    def as_dict(self) -> dict[str, list[float] | float]:
        """Return what is known as plain numbers, for sidecars and reports.

        Raises:
            ProtocolError: The timings differ from voxel to voxel.
        """
        if self.voxels:
            raise ProtocolError(
                "timings that differ from voxel to voxel cannot be listed",
                remedy="List those of one voxel: `protocol.at(voxel)`.",
            )
        known: dict[str, list[float] | float] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                known[field.name] = [round(v, 9) for v in value.tolist()]
            elif value is not None:
                known[field.name] = value
        return known


def protocol_from_values(
    *, field_strength: float | None = None, **timings: Sequence[float | int] | None
) -> Protocol:
    """Build a protocol from plain numbers, one sequence per timing.

    Raises:
        ProtocolError: A name is unknown, or the values are not possible.
    """
    unknown = set(timings) - set(PER_VOLUME)
    if unknown:
        raise ProtocolError(
            f"unknown timing {', '.join(sorted(unknown))}",
            remedy="Known are " + ", ".join(PER_VOLUME) + ".",
        )
    tensors = {
        name: torch.as_tensor(list(values), dtype=torch.float64)
        for name, values in timings.items()
        if values is not None
    }
    return Protocol(field_strength=field_strength, **tensors)


def _check_values(name: str, value: Float[Tensor, "*voxels volumes"]) -> None:
    if not value.numel():
        raise ProtocolError(f"{name} has no values", remedy="Give one value per volume.")
    if not bool(torch.isfinite(value).all()):
        numbers = value[~torch.isfinite(value)] if value.ndim > 1 else value
        raise ProtocolError(
            f"{name} is not finite: {numbers.tolist()}",
            remedy="Correct the value in the sidecar or the call.",
        )
    lowest, highest = float(value.min()), float(value.max())
    if lowest < 0 or (name == "repetition_time" and lowest <= 0):
        raise ProtocolError(f"{name} cannot be {lowest:g}", remedy="Give positive times in seconds.")
    limit = LONGEST_PLAUSIBLE.get(name)
    if limit is not None and highest > limit:
        raise ProtocolError(
            f"{name} {highest:g} s looks like milliseconds (more than {limit:g} s)",
            remedy="Give times in seconds; units are not converted.",
        )


def _check_order(protocol: Protocol) -> None:
    if protocol.repetition_time is None:
        return
    for name in ("inversion_time", "echo_time"):
        value = getattr(protocol, name)
        if value is None:
            continue
        late = value >= protocol.repetition_time
        value, repeat = value.expand(late.shape), protocol.repetition_time.expand(late.shape)
        if bool(late.any()):
            where = tuple(late.nonzero()[0].tolist())
            raise ProtocolError(
                f"{name} {value[where]:g} s is not shorter than repetition_time "
                f"{repeat[where]:g} s (volume {where[-1] + 1})",
                remedy="Check both, and their units (seconds).",
            )
