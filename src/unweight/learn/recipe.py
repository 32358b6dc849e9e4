"""Everything needed to train a T1 estimator again, as plain values, and the presets.

`cpu` is what two cores train within an hour; `gpu` the same system with more of everything; `paper` the
published configuration, where there is one. A recipe is written into the card of the weights it made.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

from unweight.core.errors import InputError, UsageError
from unweight.learn.diffusor import published_unet, small_unet
from unweight.learn.plan import TrainingPlan
from unweight.learn.posterior_task import posterior_config
from unweight.learn.recurrent import PUBLISHED
from unweight.learn.residual import residual_config
from unweight.learn.slabs import SlabRecipe
from unweight.nets.normalisation import Normalisation
from unweight.nets.recurrent import RecurrentConfig
from unweight.nets.resnet import ResNetConfig
from unweight.nets.time_unet import TimeUNetConfig
from unweight.nets.unet import UNetConfig

POSTERIOR, RESIDUAL = "t1-posterior", "t1-residual"
RESNET, RIM, DIFFUSOR = "t1-resnet", "t1-rim", "t1-diffusor"
METHODS = (POSTERIOR, RESIDUAL, RESNET, RIM, DIFFUSOR)
FROM_FITS = (POSTERIOR, RESIDUAL)
PRESETS = ("cpu", "gpu", "paper")
SEVEN = (0.05, 0.10, 0.25, 0.50, 0.85, 1.50, 2.50)
Network = UNetConfig | ResNetConfig | RecurrentConfig | TimeUNetConfig
NETWORKS = {
    POSTERIOR: UNetConfig,
    RESIDUAL: TimeUNetConfig,
    RESNET: ResNetConfig,
    RIM: RecurrentConfig,
    DIFFUSOR: TimeUNetConfig,
}
# What the published networks were trained on: heads alone, normal tissue, seven inversions.
PUBLISHED_SLABS = SlabRecipe(
    inversion_times=SEVEN,
    repetition_time=10.0,
    readout=0.457,
    shapes=0.0,
    specks=False,
    scattered=0.0,
    tissue=1.0,
    moving=0.0,
    late=0.0,
    snr=(15.0, 150.0),
)


@final
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training.

    Attributes:
        method: What is trained, one of METHODS.
        preset: What the recipe was made from.
        seed: Of slabs, starting weights and batches.
        slabs: What slabs are made from.
        n_slabs: How many are made before the training; they are used again and again.
        patch: Voxels along each side of what the network sees at a time.
        network: Of the method.
        plan: How long, how fast.
    """

    method: str
    preset: str
    seed: int = 0
    slabs: SlabRecipe
    n_slabs: int
    patch: int
    network: Network
    plan: TrainingPlan

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"nothing is called {self.method}", remedy=f"There are {', '.join(METHODS)}.")
        if not isinstance(self.network, NETWORKS[self.method]):
            raise UsageError(f"{self.method} is trained with a {NETWORKS[self.method].__name__}")
        if self.method not in FROM_FITS and not self.slabs.inversion_times:
            raise UsageError(f"{self.method} is trained for one set of TIs", remedy="Give them.")

    def to_plain(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        return dict(plain(dataclasses.asdict(self)))

    def for_protocol(
        self, inversion_times: tuple[float, ...], repetition_time: float, readout: float
    ) -> "Recipe":
        """Return the recipe for one set of inversion times [s]; the network takes as many images."""
        slabs = replace(
            self.slabs,
            inversion_times=inversion_times,
            repetition_time=repetition_time,
            readout=readout,
        )
        network = self.network
        if isinstance(network, ResNetConfig):
            network = replace(network, in_channels=len(inversion_times))
        if isinstance(network, TimeUNetConfig) and self.method == DIFFUSOR:
            network = replace(network, in_channels=3 + len(inversion_times))
        return replace(self, slabs=slabs, network=network)


def recipe_for(method: str, preset: str) -> Recipe:
    """Return a preset.

    Raises:
        UsageError: There is none of this name.
    """
    presets = PRESET_RECIPES.get(method)
    if presets is None:
        raise UsageError(f"nothing is called {method}", remedy=f"There are {', '.join(METHODS)}.")
    if preset not in presets:
        raise UsageError(
            f"{method} has no preset called {preset}", remedy=f"There are {', '.join(presets)}."
        )
    return presets[preset]


def recipe_from_plain(values: Mapping[str, Any]) -> Recipe:
    """Return the recipe that `to_plain` gave.

    Raises:
        InputError: These are not the values of a recipe.
    """
    try:
        method = str(values["method"])
        return Recipe(
            **{
                **values,
                "slabs": _built(SlabRecipe, values["slabs"]),
                "network": _built(NETWORKS[method], values["network"]),
                "plan": _built(TrainingPlan, values["plan"]),
            }
        )
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise InputError(
            f"holds no recipe of this version: {error}",
            remedy="Use weights and program that belong together.",
        ) from error


def plain(value: Any) -> Any:
    """Return JSON values: tuples as lists, enumerations as their values."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return getattr(value, "value", value)


def _built(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Build a configuration from JSON values: lists are tuples, enumerations go by their values."""
    fields = {one.name: one for one in dataclasses.fields(kind)}
    made: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            raise TypeError(f"{kind.__name__} has no {name}")
        wanted = fields[name].type
        if isinstance(value, list):
            made[name] = tuple(value)
        elif isinstance(value, str) and isinstance(wanted, type):
            made[name] = wanted(value)
        else:
            made[name] = value
    return kind(**made)


def _plan(n_steps: int, batch_size: int, **other: Any) -> TrainingPlan:
    return TrainingPlan(n_steps=n_steps, batch_size=batch_size, bfloat16=True, **other)


_RESNET = ResNetConfig(in_channels=len(SEVEN), out_channels=3)
PRESET_RECIPES: Mapping[str, Mapping[str, Recipe]] = {
    POSTERIOR: {
        "cpu": Recipe(
            method=POSTERIOR,
            preset="cpu",
            slabs=SlabRecipe(),
            n_slabs=1600,
            patch=64,
            network=posterior_config((32, 64, 96, 128)),
            plan=_plan(7000, 16, warm_up=500),
        ),
        "gpu": Recipe(
            method=POSTERIOR,
            preset="gpu",
            slabs=SlabRecipe(),
            n_slabs=6000,
            patch=96,
            network=posterior_config((48, 64, 96, 128)),
            plan=_plan(20_000, 64),
        ),
    },
    RESIDUAL: {
        "cpu": Recipe(
            method=RESIDUAL,
            preset="cpu",
            slabs=SlabRecipe(),
            n_slabs=400,
            patch=64,
            network=residual_config((32, 64, 96)),
            plan=_plan(3000, 16, check_every=1500),
        ),
        "gpu": Recipe(
            method=RESIDUAL,
            preset="gpu",
            slabs=SlabRecipe(),
            n_slabs=6000,
            patch=96,
            network=residual_config((48, 64, 96, 128)),
            plan=_plan(20_000, 64),
        ),
    },
    RESNET: {
        "cpu": Recipe(
            method=RESNET,
            preset="cpu",
            slabs=PUBLISHED_SLABS,
            n_slabs=1500,
            patch=48,
            network=_RESNET,
            plan=_plan(1500, 8),
        ),
        "gpu": Recipe(
            method=RESNET,
            preset="gpu",
            slabs=PUBLISHED_SLABS,
            n_slabs=4000,
            patch=96,
            network=_RESNET,
            plan=_plan(20_000, 32),
        ),
        # As published: batch statistics at test time too, so that estimates depend on what else is there.
        "paper": Recipe(
            method=RESNET,
            preset="paper",
            slabs=replace(PUBLISHED_SLABS, size=240),
            n_slabs=3976,
            patch=240,
            network=replace(_RESNET, norm=Normalisation.BATCH),
            plan=_plan(49_700, 8),
        ),
    },
    RIM: {
        "cpu": Recipe(
            method=RIM,
            preset="cpu",
            slabs=PUBLISHED_SLABS,
            n_slabs=1500,
            patch=48,
            network=PUBLISHED,
            plan=replace(_plan(1500, 8), bfloat16=False),
        ),
        "gpu": Recipe(
            method=RIM,
            preset="gpu",
            slabs=PUBLISHED_SLABS,
            n_slabs=4000,
            patch=96,
            network=PUBLISHED,
            plan=replace(_plan(20_000, 32), bfloat16=False),
        ),
        "paper": Recipe(
            method=RIM,
            preset="paper",
            slabs=replace(PUBLISHED_SLABS, size=240),
            n_slabs=3976,
            patch=240,
            network=PUBLISHED,
            plan=replace(_plan(49_700, 8, learning_rate=1e-4), bfloat16=False),
        ),
    },
    DIFFUSOR: {
        "cpu": Recipe(
            method=DIFFUSOR,
            preset="cpu",
            slabs=PUBLISHED_SLABS,
            n_slabs=1500,
            patch=64,
            network=small_unet(len(SEVEN)),
            plan=_plan(6000, 16),
        ),
        "gpu": Recipe(
            method=DIFFUSOR,
            preset="gpu",
            slabs=PUBLISHED_SLABS,
            n_slabs=4000,
            patch=96,
            network=small_unet(len(SEVEN)),
            plan=_plan(40_000, 64),
        ),
        "paper": Recipe(
            method=DIFFUSOR,
            preset="paper",
            slabs=replace(PUBLISHED_SLABS, size=240),
            n_slabs=3976,
            patch=240,
            network=published_unet(len(SEVEN)),
            plan=_plan(49_700, 8, learning_rate=2.5e-5, weight_decay=0.0),
        ),
    },
}
