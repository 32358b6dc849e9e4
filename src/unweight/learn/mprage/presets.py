"""The recipes of networks that make T1w images of echoes, all on the same people.

`paper` is the network and the ladder of Fast-DDPM (Jiang et al., arXiv 2405.14802); channels, people and
scan are ours.
"""

from collections.abc import Mapping

from unweight.diffusion.denoiser import Prediction
from unweight.learn.mprage.cohort import CohortRecipe
from unweight.learn.mprage.ladder_choice import LadderChoice
from unweight.learn.mprage.tasks import N_ANSWERS, denoising_config, published_config, regression_config
from unweight.learn.segmentation.task import structure_config
from unweight.learn.training.recipe import STRUCTURES, T1W, T1W_FAST, T1W_GAN, T1W_UNET, Network, Recipe
from unweight.learn.training.schedule import TrainingPlan
from unweight.nets.pgan import PganConfig

COHORT = CohortRecipe()
CPU_WIDTHS, GPU_WIDTHS = (32, 64, 96, 128), (64, 96, 128, 192)
CPU_STEPS, GPU_STEPS = 7000, 40_000
# Of the CPU preset where others are wanted: a step of the GAN takes half as long again.
STEPS = {STRUCTURES: 3000, T1W: 4000, T1W_GAN: 5000}


def _networks(widths: tuple[int, ...]) -> Mapping[str, Network]:
    return {
        T1W: denoising_config(widths, n_said=N_ANSWERS),
        T1W_UNET: regression_config(widths),
        T1W_GAN: PganConfig(generator=regression_config(widths, 1), n_judged=1),
        T1W_FAST: denoising_config(widths),
        STRUCTURES: structure_config(widths[:3]),
    }


def _recipe(method: str, preset: str, network: Network, plan: TrainingPlan, patch: int) -> Recipe:
    descent = None
    if method == T1W_FAST:
        said = Prediction.EPSILON if preset == "paper" else Prediction.VELOCITY
        descent = LadderChoice(prediction=said)
    return Recipe(
        method=method,
        preset=preset,
        slabs=COHORT,
        n_slabs=COHORT.n[0],
        patch=patch,
        network=network,
        plan=plan,
        descent=descent,
    )


def _cpu(method: str, network: Network) -> Recipe:
    n_steps = STEPS.get(method, CPU_STEPS)
    plan = TrainingPlan(n_steps=n_steps, batch_size=16, warm_up=300, bfloat16=True, check_every=1000)
    return _recipe(method, "cpu", network, plan, 64)


def _gpu(method: str, network: Network) -> Recipe:
    plan = TrainingPlan(
        n_steps=GPU_STEPS, batch_size=64, warm_up=1000, bfloat16=True, check_every=4000, save_every=2000
    )
    return _recipe(method, "gpu", network, plan, 64)


PAPER = _recipe(
    T1W_FAST,
    "paper",
    published_config(),
    TrainingPlan(
        n_steps=400_000,
        batch_size=16,
        learning_rate=2e-5,
        weight_decay=0.0,
        check_every=20_000,
        save_every=5000,
    ),
    64,
)
T1W_RECIPES: Mapping[str, Mapping[str, Recipe]] = {
    method: {
        "cpu": _cpu(method, small),
        "gpu": _gpu(method, _networks(GPU_WIDTHS)[method]),
        **({"paper": PAPER} if method == T1W_FAST else {}),
    }
    for method, small in _networks(CPU_WIDTHS).items()
}
