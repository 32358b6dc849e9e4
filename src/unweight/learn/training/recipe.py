"""Everything needed to train an estimator again, as plain values.

A recipe is written into the card of the weights it made; `learn.training.presets` has those to begin with.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

from unweight.core.errors import InputError, UsageError
from unweight.learn.mprage.cohort import CohortRecipe
from unweight.learn.mprage.ladder_choice import LadderChoice
from unweight.learn.t1.slabs import SlabRecipe
from unweight.learn.training.schedule import TrainingPlan
from unweight.learn.weighted.slabs import WeightedSlabRecipe
from unweight.nets.image_set import ImageSetConfig
from unweight.nets.pgan import PganConfig
from unweight.nets.recurrent import RecurrentConfig
from unweight.nets.resnet import ResNetConfig
from unweight.nets.time_unet import TimeUNetConfig
from unweight.nets.unet import UNetConfig

POSTERIOR, RESIDUAL = "t1-posterior", "t1-residual"
RESNET, RIM, DIFFUSOR = "t1-resnet", "t1-rim", "t1-diffusor"
MAPS, MAPS_UNTOLD, MAPS_UNET, MAPS_PGAN = "maps", "maps-no-embedding", "maps-unet", "maps-pgan"
T1W, T1W_UNET, T1W_GAN, T1W_FAST = "mprage", "mprage-unet", "mprage-gan", "mprage-fastddpm"
STRUCTURES = "structures"
FROM_FITS = (POSTERIOR, RESIDUAL)
FROM_WEIGHTED = (MAPS, MAPS_UNTOLD, MAPS_UNET, MAPS_PGAN)
FROM_ECHOES = (T1W, T1W_UNET, T1W_GAN, T1W_FAST)
FROM_PAIRS = (*FROM_ECHOES, STRUCTURES)
METHODS = (POSTERIOR, RESIDUAL, RESNET, RIM, DIFFUSOR, *FROM_WEIGHTED, *FROM_PAIRS)
PRESETS = ("cpu", "gpu", "paper")
SEVEN = (0.05, 0.10, 0.25, 0.50, 0.85, 1.50, 2.50)
Network = UNetConfig | ResNetConfig | RecurrentConfig | TimeUNetConfig | ImageSetConfig | PganConfig
NETWORKS = {
    POSTERIOR: UNetConfig,
    RESIDUAL: TimeUNetConfig,
    RESNET: ResNetConfig,
    RIM: RecurrentConfig,
    DIFFUSOR: TimeUNetConfig,
    MAPS: ImageSetConfig,
    MAPS_UNTOLD: ImageSetConfig,
    MAPS_UNET: UNetConfig,
    MAPS_PGAN: PganConfig,
    T1W: TimeUNetConfig,
    T1W_UNET: UNetConfig,
    T1W_GAN: PganConfig,
    T1W_FAST: TimeUNetConfig,
    STRUCTURES: UNetConfig,
}
Slabs = SlabRecipe | WeightedSlabRecipe | CohortRecipe


@final
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training.

    Attributes:
        method: What is trained, one of METHODS.
        preset: What the recipe was made from.
        seed: Of slabs, starting weights and batches.
        slabs: What slabs, or pairs of whole heads, are made from.
        n_slabs: How many are made before the training; they are used again and again.
        patch: Voxels along each side of what the network sees at a time.
        network: Of the method.
        plan: How long, how fast.
        descent: Of a Fast-DDPM.
    """

    method: str
    preset: str
    seed: int = 0
    slabs: Slabs
    n_slabs: int
    patch: int
    network: Network
    plan: TrainingPlan
    descent: LadderChoice | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"nothing is called {self.method}", remedy=f"There are {', '.join(METHODS)}.")
        if not isinstance(self.network, NETWORKS[self.method]):
            raise UsageError(f"{self.method} is trained with a {NETWORKS[self.method].__name__}")
        if not isinstance(self.slabs, slabs_of_method(self.method)):
            raise UsageError(f"{self.method} is not trained on slabs of a {type(self.slabs).__name__}")
        if (self.descent is None) is (self.method == T1W_FAST):
            raise UsageError(f"a short ladder belongs to {T1W_FAST}, and to it alone")
        if not isinstance(self.slabs, SlabRecipe):
            return
        if self.method not in FROM_FITS and not self.slabs.inversion_times:
            raise UsageError(f"{self.method} is trained for one set of TIs", remedy="Give them.")

    @property
    def series(self) -> SlabRecipe:
        """What slabs of inversion recovery are made from.

        Raises:
            UsageError: They are of something else.
        """
        if not isinstance(self.slabs, SlabRecipe):
            raise UsageError(
                f"{self.method} takes images of any timings", remedy="Leave out inversion times."
            )
        return self.slabs

    @property
    def cohort(self) -> CohortRecipe:
        """What pairs of echoes and T1w are made from.

        Raises:
            UsageError: It is not trained on pairs.
        """
        if not isinstance(self.slabs, CohortRecipe):
            raise UsageError(f"{self.method} is not trained on pairs of images")
        return self.slabs

    def to_plain(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        values = dict(plain(dataclasses.asdict(self)))
        if self.descent is None:
            del values["descent"]
        return values

    def for_protocol(
        self, inversion_times: tuple[float, ...], repetition_time: float, readout: float
    ) -> "Recipe":
        """Return the recipe for one set of inversion times [s]; the network takes as many images."""
        slabs = replace(
            self.series,
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
                "slabs": _built(slabs_of_method(method), values["slabs"]),
                "network": _built(NETWORKS[method], values["network"]),
                "plan": _built(TrainingPlan, values["plan"]),
                "descent": _built(LadderChoice, values["descent"]) if "descent" in values else None,
            }
        )
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise InputError(
            f"holds no recipe of this version: {error}",
            remedy="Use weights and program that belong together.",
        ) from error


def slabs_of_method(method: str) -> type[Slabs]:
    """Return what a method is trained on."""
    if method in FROM_PAIRS:
        return CohortRecipe
    return WeightedSlabRecipe if method in FROM_WEIGHTED else SlabRecipe


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
        if isinstance(value, Mapping) and isinstance(wanted, type):
            made[name] = _built(wanted, value)
        elif isinstance(value, list):
            made[name] = tuple(value)
        elif isinstance(value, str) and isinstance(wanted, type):
            made[name] = wanted(value)
        else:
            made[name] = value
    return kind(**made)
