"""What a way to fit one exponential to echoes gives and keeps.

    S(TE) = S0·exp(−TE·R)

R is R2* for gradient echoes and R2 for spin echoes.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import ProtocolError


class Decay(NamedTuple):
    """The decay of each voxel.

    Attributes:
        rate: R [1/s]; negative where the signal grows.
        amplitude: S0 [unit of the signal].
        settled: False where there is no answer, or the search for it did not end.
    """

    rate: Float[Tensor, " voxels"]
    amplitude: Float[Tensor, " voxels"]
    settled: Bool[Tensor, " voxels"]


class DecaySolver(ABC):
    """Fits one exponential to every voxel. Frozen: its fields are its configuration."""

    @abstractmethod
    def accept(self, echo_time: Float[Tensor, " echoes"]) -> None:
        """Return if these rising echo times can be worked on.

        Raises:
            ProtocolError: They cannot; the message says why.
        """

    @abstractmethod
    def __call__(
        self, signal: Float[Tensor, "voxels echoes"], echo_time: Float[Tensor, " echoes"]
    ) -> Decay:
        """Fit, on the device and in the dtype of the signal.

        Args:
            signal: Finite values. Fastest where it is the transpose of a contiguous tensor.
            echo_time: Rising [s].
        """


def require_echoes(echo_time: Float[Tensor, " echoes"], least: int, by: str) -> None:
    """Return if there are enough different echo times.

    Raises:
        ProtocolError: There are not.
    """
    n_different = len(set(echo_time.tolist()))
    if n_different < least:
        raise ProtocolError(
            f"{by} needs {least} different echo times, but there are {n_different}",
            remedy="Give more echoes, or reduce --skip-first.",
        )


def amplitude_at(
    rate: Float[Tensor, " voxels"],
    signal: Float[Tensor, "voxels echoes"],
    echo_time: Float[Tensor, " echoes"],
) -> Float[Tensor, " voxels"]:
    """Return S0 = Σ S·e / Σ e², e = exp(−TE·R): least squares at a known rate.

    Args:
        rate: R [1/s].
        signal: S.
        echo_time: TE, rising [s].
    """
    # From the first echo on, so that a fast decay does not underflow.
    decayed = torch.exp(-rate * (echo_time - echo_time[0])[:, None])
    at_first = (signal.T * decayed).sum(0) / decayed.square().sum(0)
    return at_first * torch.exp(rate * echo_time[0])
