"""Timings that cannot be: refused with the volume and the reason before they make a wrong signal."""

import torch
from jaxtyping import Bool
from torch import Tensor

from unweight.core.errors import ProtocolError
from unweight.core.protocol import Protocol

ROUNDING = 1e-7


def refuse_where(wrong: Bool[Tensor, "*voxels volumes"], problem: str, *, remedy: str) -> None:
    """Raise if any volume is wrong, and name the first.

    Raises:
        ProtocolError: There is one.
    """
    if bool(wrong.any()):
        raise ProtocolError(f"{problem} (volume {int(wrong.nonzero()[0, -1]) + 1})", remedy=remedy)


def check_train(protocol: Protocol, by: str) -> None:
    """Refuse a spin-echo train that ends before its echo, or after the next repetition has begun.

    Raises:
        ProtocolError: `readout_time` does not fit the other timings.
    """
    end = protocol.readout_time
    if end is None:
        return
    if protocol.echo_time is not None:
        refuse_where(
            end < protocol.echo_time - ROUNDING,
            f"{by}: readout_time is shorter than echo_time",
            remedy="It runs from excitation to the last echo of the train, in seconds.",
        )
    if protocol.repetition_time is not None:
        start = torch.zeros_like(end) if protocol.inversion_time is None else protocol.inversion_time
        refuse_where(
            start + end >= protocol.repetition_time,
            f"{by}: the readout is not over when the next repetition starts",
            remedy="Check readout_time, inversion_time and repetition_time, all in seconds.",
        )
