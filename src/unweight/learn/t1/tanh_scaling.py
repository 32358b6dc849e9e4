"""The published scaling of maps for networks: f(x) = 2 tanh(x) − 1, back by x = ½ ln((f + 3)/(1 − f)).

x is T1 in seconds, PD relative to the reference intensity, or B as it is. f(0) = −1 is the background.

Its weakness is that it saturates. dx/df = cosh²(x)/2, so that an error of 0.01 in f is

    T1       0.06    0.342   0.987   1.884   2.0     3.0     4.0    s
    error    5.0     5.6     12      57      71      507     3700   ms

and 5 ms at any short T1, which is 17 % of 30 ms. The slope df/dx is 0.14 at 2 s and 0.0027 at 4 s, so
estimates of cerebrospinal fluid say little. The inverse is convex above f = 0: the mean of values brought
back lies above the value of the mean. At f = 1 it has no value; see `unscaled`.

Reference: S. Wang et al., qMRI Diffusor, arXiv 2407.16477.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.signals.parameters import T1

LARGEST = T1.upper  # [s]; of PD and B, the same number
BACKGROUND = -1.0  # f(0)


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
