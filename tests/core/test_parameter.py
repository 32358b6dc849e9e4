import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec, Scale

T1 = ParameterSpec(name="T1", unit="s", lower=0.01, upper=5.0, suffix="T1map", scale=Scale.LOG)


def test_log_scale_goes_there_and_back() -> None:
    value = torch.tensor([0.02, 1.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(T1.from_free(T1.to_free(value)), value)
    assert float(T1.to_free(torch.tensor(1.0))) == 0.0
    assert T1.free_range == (math.log(0.01), math.log(5.0))


def test_linear_scale_is_the_identity() -> None:
    spec = ParameterSpec(name="f", unit="Hz", lower=-5.0, upper=5.0, suffix="fieldmap")
    assert float(spec.to_free(torch.tensor(-3.0))) == -3.0
    assert spec.free_range == (-5.0, 5.0)


def test_impossible_ranges_are_refused() -> None:
    with pytest.raises(UsageError, match="T2: the range 2 to 1 is empty"):
        ParameterSpec(name="T2", unit="s", lower=2.0, upper=1.0, suffix="T2map")
    with pytest.raises(UsageError, match="logarithmic scale needs a positive lower end"):
        ParameterSpec(name="T2", unit="s", lower=0.0, upper=1.0, suffix="T2map", scale=Scale.LOG)
