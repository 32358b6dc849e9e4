"""The contract of what judges a network while and after it is trained, on slabs it was not trained on."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

Slabs = Mapping[str, Tensor]
Calibration = Mapping[str, Any]


class Examination(ABC):
    """Holds slabs for validation, and what the fit made of them."""

    @abstractmethod
    def check(self, network: nn.Module) -> dict[str, float]:
        """Return scores of a network in training: `rmse_ln_t1`, `rmse_ln_t1_fit`, `coverage_90` …."""

    @abstractmethod
    def calibrate(self, network: nn.Module, slabs: Slabs | None) -> Calibration:
        """Return what makes the error bars of a trained network hold, as the card keeps it.

        Args:
            network: Trained, in `eval` mode.
            slabs: Others than those of the validation; None if `n_calibration` is 0.
        """

    @abstractmethod
    def score(self, network: nn.Module, calibration: Calibration) -> dict[str, float]:
        """Return the scores of a trained and calibrated network; all are finite."""
