"""Transforms that were published with images, as ITK writes them to text."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def transform_of(path: Path) -> Float64[Tensor, "4 4"]:
    """Read one, as a matrix between points in RAS+ [mm]."""
    lines = dict(line.split(": ") for line in path.read_text().splitlines() if ": " in line)
    numbers = np.array(lines["Parameters"].split(), dtype=float)
    centre = np.array(lines["FixedParameters"].split(), dtype=float)
    matrix = np.eye(4)
    matrix[:3, :3] = numbers[:9].reshape(3, 3)
    matrix[:3, 3] = numbers[9:] + centre - matrix[:3, :3] @ centre
    return torch.from_numpy(TO_RAS @ matrix @ TO_RAS)
