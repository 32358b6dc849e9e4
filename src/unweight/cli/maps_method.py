"""Which estimator a call of `unweight maps` asks for."""

import argparse
from dataclasses import replace

import torch

from unweight.core.errors import UsageError
from unweight.core.estimator import Estimator
from unweight.core.examination import Examination
from unweight.learn.weighted_maps import WeightedMaps
from unweight.run.maps_methods import maps_methods


def estimator_for(arguments: argparse.Namespace) -> Estimator[Examination]:
    """Return the estimator of `--method`, with the weights of `--weights`, on `--device`.

    Raises:
        UsageError: There is no CUDA device, or no such method.
        InputError: Its weights are absent or damaged.
    """
    estimator = maps_methods((arguments.method,), arguments.weights)[arguments.method]
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is to be seen here", remedy="Use --device cpu.")
    if not isinstance(estimator, WeightedMaps):
        return estimator
    cuda = arguments.device != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    return replace(estimator, network=estimator.network.to(device))
