"""Which device `--device` means: the accelerator, if there is one and nobody asked for the processor."""

import torch

from unweight.core.errors import UsageError


def device_for(wish: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`.

    Raises:
        UsageError: There is no CUDA device.
    """
    if wish == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is available", remedy="Use --device cpu.")
    return torch.device("cuda" if wish != "cpu" and torch.cuda.is_available() else "cpu")
