"""One spin, pulse by pulse: the outside truth for steady states. Plain NumPy; knows nothing of the package.

The magnetisation is an array (3, voxels) of x, y, z with equilibrium (0, 0, 1).
"""

import numpy as np
from numpy.typing import NDArray

Magnetisation = NDArray[np.float64]


def equilibrium(n_voxels: int) -> Magnetisation:
    return np.stack([np.zeros(n_voxels), np.zeros(n_voxels), np.ones(n_voxels)])


def pulse(m: Magnetisation, angle: NDArray[np.float64] | float, axis: str = "x") -> Magnetisation:
    """Turn about x or y by an angle in radians, right-handed."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = m
    if axis == "x":
        return np.stack([x, cos * y - sin * z, sin * y + cos * z])
    return np.stack([cos * x + sin * z, y, -sin * x + cos * z])


def rest(
    m: Magnetisation, time: float, t1: NDArray[np.float64], t2: NDArray[np.float64] | float = np.inf
) -> Magnetisation:
    """Relax for a time without a pulse, on resonance."""
    x, y, z = m
    fade = np.exp(-time / t2)
    return np.stack([x * fade, y * fade, 1 + (z - 1) * np.exp(-time / t1)])


def spoil(m: Magnetisation) -> Magnetisation:
    """Destroy what is transverse."""
    return np.stack([np.zeros_like(m[0]), np.zeros_like(m[1]), m[2]])


def transverse(m: Magnetisation) -> NDArray[np.float64]:
    return np.hypot(m[0], m[1])
