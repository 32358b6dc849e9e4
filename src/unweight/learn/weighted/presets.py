"""The recipes of networks that map weighted images, all with the same data and steps."""

from collections.abc import Mapping

from unweight.learn.training.recipe import MAPS, MAPS_PGAN, MAPS_UNET, MAPS_UNTOLD, Network, Recipe
from unweight.learn.training.schedule import TrainingPlan
from unweight.learn.weighted.slabs import WeightedSlabRecipe
from unweight.learn.weighted.task import stacked_config, told_config, untold_config
from unweight.nets.pgan import PganConfig

SLABS = WeightedSlabRecipe()
CPU_WIDTHS, GPU_WIDTHS = (32, 64, 96, 128), (48, 96, 128, 192)
CPU_STEPS, GPU_STEPS = 6000, 40_000


def _networks(widths: tuple[int, ...]) -> Mapping[str, Network]:
    return {
        MAPS: told_config(widths),
        MAPS_UNTOLD: untold_config(widths),
        MAPS_UNET: stacked_config(widths),
        MAPS_PGAN: PganConfig(generator=stacked_config(widths)),
    }


def _cpu(method: str, network: Network) -> Recipe:
    plan = TrainingPlan(n_steps=CPU_STEPS, batch_size=16, warm_up=500, bfloat16=True)
    return Recipe(
        method=method, preset="cpu", slabs=SLABS, n_slabs=5000, patch=64, network=network, plan=plan
    )


def _gpu(method: str, network: Network) -> Recipe:
    plan = TrainingPlan(n_steps=GPU_STEPS, batch_size=64, warm_up=1000, bfloat16=True, check_every=2000)
    return Recipe(
        method=method, preset="gpu", slabs=SLABS, n_slabs=16_000, patch=96, network=network, plan=plan
    )


MAPS_RECIPES: Mapping[str, Mapping[str, Recipe]] = {
    method: {"cpu": _cpu(method, small), "gpu": _gpu(method, _networks(GPU_WIDTHS)[method])}
    for method, small in _networks(CPU_WIDTHS).items()
}
