"""What every estimator keeps, ours and other people's: call `check_estimator` in a test of yours."""

import torch

from unweight.core.acquisition import Acquisition
from unweight.core.estimator import Estimator
from unweight.core.maps import ParameterMaps
from unweight.testing.contract import demand

# What the values of a voxel may change with its neighbours in memory: vector instructions round the
# ends of a row another way than its middle.
OF_STD = 0.01
OF_VALUE = 1e-5


def check_estimator(estimator: Estimator[Acquisition], acquisition: Acquisition) -> ParameterMaps:
    """Demand the contract of `core.estimator` on an acquisition with voxels on its first axis.

    Shapes, dtype, device and parameters; the same result when called again and for each half of the
    voxels given as a mask; values where the status says so and nowhere else; the input untouched.

    Args:
        estimator: What to check.
        acquisition: One that it accepts, with at least two voxels and a known `noise_sd`, so that
            halves are judged by the same noise.

    Returns:
        The maps, for further tests.

    Raises:
        ContractError: Something is not kept.
    """
    demand(acquisition.noise_sd is not None, "give an acquisition with noise_sd to check an estimator")
    before = acquisition.signal.clone()
    maps = estimator(acquisition)
    demand(torch.equal(before, acquisition.signal), "the estimator changed its input")
    demand(maps.specs == estimator.parameters, "the maps are not the parameters it names")
    shape = (*acquisition.voxels, len(maps.specs))
    demand(maps.values.shape == shape, f"values have shape {tuple(maps.values.shape)}, not {shape}")
    demand(maps.std.shape == shape, f"std has shape {tuple(maps.std.shape)}, not {shape}")
    demand(maps.values.dtype == acquisition.signal.dtype, "values do not keep the dtype of the signal")
    demand(maps.values.device == acquisition.signal.device, "values do not keep the device of the signal")
    valued = ~maps.failed
    demand(bool((maps.std[valued] >= 0).all()), "a standard deviation is negative or NaN")
    _check_again(estimator, acquisition, maps)
    return maps


def _check_again(estimator: Estimator[Acquisition], acquisition: Acquisition, maps: ParameterMaps) -> None:
    again = estimator(acquisition)
    demand(
        torch.equal(maps.values.nan_to_num(), again.values.nan_to_num()), "a second call gives other values"
    )
    half = torch.zeros(acquisition.voxels, dtype=torch.bool, device=acquisition.signal.device)
    half[: max(1, acquisition.voxels[0] // 2)] = True
    masked = Acquisition(
        signal=acquisition.signal,
        protocol=acquisition.protocol,
        kind=acquisition.kind,
        mask=half & acquisition.inside,
        known=acquisition.known,
        noise_sd=acquisition.noise_sd,
    )
    part = estimator(masked)
    difference = (maps.values - part.values)[half].nan_to_num().abs()
    allowed = OF_STD * maps.std[half].nan_to_num() + OF_VALUE * maps.values[half].nan_to_num().abs()
    demand(bool((difference <= allowed).all()), "values depend on which other voxels there are")
    demand(torch.equal(maps.failed[half], part.failed[half]), "failures depend on the other voxels")
    demand(bool(torch.isnan(part.values[~half]).all()), "there are values outside the mask")
