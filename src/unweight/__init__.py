"""Quantitative maps of the brain from weighted MR images, with calibrated uncertainty.

The functions of `unweight.api` are found here too; they are loaded when the first of them is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unweight.api import MappedSeries as MappedSeries
    from unweight.api import PhantomPlate as PhantomPlate
    from unweight.api import Segmentation as Segmentation
    from unweight.api import WeightedScan as WeightedScan
    from unweight.api import analyse_phantom as analyse_phantom
    from unweight.api import map_qsm as map_qsm
    from unweight.api import map_r2star as map_r2star
    from unweight.api import map_t1 as map_t1
    from unweight.api import map_t2 as map_t2
    from unweight.api import map_weighted as map_weighted
    from unweight.api import segment as segment
    from unweight.api import synthesise as synthesise
    from unweight.api import synthesise_mprage as synthesise_mprage

__version__ = "0.1.0"
OF_API = (
    "MappedSeries",
    "PhantomPlate",
    "Segmentation",
    "WeightedScan",
    "analyse_phantom",
    "map_qsm",
    "map_r2star",
    "map_t1",
    "map_t2",
    "map_weighted",
    "segment",
    "synthesise",
    "synthesise_mprage",
)


def __getattr__(name: str) -> object:
    if name in OF_API:
        return getattr(import_module("unweight.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *OF_API])
