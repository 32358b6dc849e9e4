"""Which estimator a call of `unweight maps` asks for."""

import argparse
from dataclasses import replace

from unweight.cli.device import device_for
from unweight.core.estimator import Estimator
from unweight.core.examination import Examination
from unweight.learn.weighted.estimator import WeightedMaps
from unweight.registry import build, method


def estimator_for(arguments: argparse.Namespace) -> Estimator[Examination]:
    """Return the estimator of `--method`, with the weights of `--weights`, on `--device`.

    Raises:
        UsageError: There is no CUDA device, or no such method.
        InputError: Its weights are absent or damaged.
    """
    estimator: Estimator[Examination] = build(method(arguments.method, "weighted"), arguments.weights)
    device = device_for(arguments.device)
    if not isinstance(estimator, WeightedMaps):
        return estimator
    return replace(estimator, network=estimator.network.to(device))
