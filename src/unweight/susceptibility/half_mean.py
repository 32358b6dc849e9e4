"""Mean over all of k-space of what is given on its half."""

from jaxtyping import Float
from torch import Tensor


def half_mean(values: Float[Tensor, "x y half"], n_last: int) -> float:
    """Return the mean over the whole spectrum of an even function.

    Args:
        values: On the half that `torch.fft.rfftn` gives.
        n_last: Voxels along the last axis.
    """
    twice = 2 * values.double().sum() - values[..., 0].double().sum()
    if n_last % 2 == 0:
        twice = twice - values[..., -1].double().sum()
    return float(twice / (values.shape[0] * values.shape[1] * n_last))
