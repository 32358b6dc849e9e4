"""The methods that learn to synthesise T1w images of gradient echoes: four networks on the same people.

The preset `paper` of the Fast-DDPM is its published network and schedule (Jiang et al., arXiv 2405.14802);
channels, people and scan are ours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from unweight.core.acquisition import Acquisition
from unweight.core.errors import UsageError
from unweight.core.estimator import Estimator
from unweight.diffusion.denoiser import Prediction
from unweight.learn.mprage.estimator import EchoT1w
from unweight.learn.mprage.synthesis import Diffusion, Regression, Residual, Synthesis, Synthesiser
from unweight.learn.mprage.tasks import (
    N_ANSWERS,
    EchoDiffusionTask,
    EchoGanTask,
    EchoRegressionTask,
    EchoResidualTask,
    ScheduleConfig,
    denoising_config,
    published_config,
    regression_config,
    scan_regression_config,
)
from unweight.learn.pairs.cohort import WIDE, CohortRecipe
from unweight.learn.pairs.echo_channels import CHI, MASK, Conditions
from unweight.learn.pairs.pair import DATA_RANGE, Pair
from unweight.learn.pairs.pair_data import (
    PairData,
    PairMethod,
    central_slices,
    cohort_presets,
    cohort_recipe,
    features_of,
)
from unweight.learn.pairs.planes import Planes
from unweight.learn.pairs.scan_range import range_of_card
from unweight.learn.training.model_card import NOT_A_MEDICAL_DEVICE, Card, CardText
from unweight.learn.training.recipe import Recipe, TrainingPlan
from unweight.learn.training.trainable import (
    Assessment,
    BaseNetwork,
    Calibration,
    RecipeTypes,
    Samples,
    Task,
    Validator,
    check_base,
    load_base,
    load_network,
    recipe_from_plain,
    trainable,
)
from unweight.metrics.image_quality import psnr
from unweight.nets.conditioned_unet import ConditionedUNet, ConditionedUNetConfig
from unweight.nets.pgan import Pgan, PganConfig
from unweight.nets.time_unet import TimeUNet, TimeUNetConfig
from unweight.nets.unet import UNet, UNetConfig
from unweight.registry import trained_method

USE = "T1-weighted images of the brain from gradient echoes at 3 T, for research. "
LIMITS = (
    "T1 and proton density are confounded in gradient echoes of a single flip angle: the image depends on "
    "a prior over normal tissue, and a lesion may be replaced by normal tissue. "
)
N_DRAWS = 4  # of a Fast-DDPM: enough for a standard deviation
NOMINAL, NORMAL = 0.9, 1.6449
MOST_VOXELS = 4_000_000  # for the calibration of intervals
EchoRecipe = Recipe[CohortRecipe, Any]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SynthesisOptions:
    """How images are synthesised with a trained network.

    Attributes:
        base: The regression, for its residual.
        planes: None for those of each kind.
        n_draws: None for the number of each kind.
        seed: Of the draws.
    """

    base: nn.Module | None = None
    planes: Planes | None = None
    n_draws: int | None = None
    seed: int = 0


Build = Callable[[EchoRecipe, nn.Module, Calibration, SynthesisOptions], Synthesiser]


@final
@dataclass(frozen=True, kw_only=True)
class EchoMethod(PairMethod[Any]):
    """A network from slabs of echoes to a T1w image.

    Attributes:
        types: The configurations of its recipes.
        presets: Its recipes.
        build: Returns the network of a configuration.
        build_task: Returns the loss of a network.
        synthesiser: Returns what synthesises images with a network.
        draws: Whether each image is a draw.
    """

    types: RecipeTypes
    presets: Mapping[str, EchoRecipe]
    build: Callable[[Any, torch.Generator], nn.Module]
    build_task: Callable[[Any, EchoRecipe, BaseNetwork | None], Task]
    synthesiser: Build
    draws: bool = False
    needs_labels: bool = False

    def check(self, recipe: EchoRecipe) -> None:
        """Return: nothing but its types can be wrong."""

    def network(self, recipe: EchoRecipe, generator: torch.Generator) -> nn.Module:
        """Return the network."""
        return self.build(recipe.network, generator)

    def task(self, network: nn.Module, recipe: EchoRecipe, base: BaseNetwork | None) -> Task:
        """Return its loss."""
        return self.build_task(network, recipe, base)

    def validator(self, recipe: EchoRecipe, data: PairData, base: BaseNetwork | None) -> "EchoValidator":
        """Return what compares images with measured ones."""
        return EchoValidator(recipe=recipe, method=self, pairs=data.validation, base=base)

    def card_text(self, recipe: EchoRecipe, data: PairData) -> CardText:
        """Return the words of its card, and the voxels it was trained for."""
        return CardText(
            summary=trained_method(recipe.method).card,
            intended_use=f"{USE}{NOT_A_MEDICAL_DEVICE}",
            limits=f"{LIMITS}{data.limits}{NOT_A_MEDICAL_DEVICE}",
            trained_on=data.description(recipe.slabs),
            ranges={"voxel_mm": data.voxel_mm, **data.scan_ranges(recipe.slabs)},
        )

    def estimator(self, network: nn.Module, card: Card, folder: Path | None) -> Estimator[Acquisition]:
        """Return what synthesises an image of echoes."""
        synthesise = _synthesiser(network, card, folder, None, SynthesisOptions())
        return EchoT1w(
            synthesise=synthesise,
            voxel_mm=card.ranges["voxel_mm"],
            scans=range_of_card(card.ranges),
        )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class EchoValidator(Validator):
    """Compares synthesised images with measured ones.

    Attributes:
        recipe: Of the network.
        method: Of the recipe.
        pairs: For validation.
        base: The regression, for its residual.
    """

    recipe: EchoRecipe
    method: EchoMethod
    pairs: tuple[Pair, ...]
    base: BaseNetwork | None = None

    def check(self, network: nn.Module) -> dict[str, float]:
        """Return the PSNR over a few axial slices."""
        pairs = tuple(central_slices(pair) for pair in self.pairs)
        return self._scores(network.eval(), pairs, Planes.AXIAL)[0]

    def assess(self, network: nn.Module, calibration: Samples | None) -> Assessment:
        """Return the factor by which 90 % intervals cover 90 %, and the PSNR, over whole brains."""
        scores, ratios = self._scores(network, self.pairs, Planes.THREE)
        if not len(ratios):
            return Assessment(calibration={}, metrics=scores)
        spread = float(ratios.kthvalue(max(1, round(NOMINAL * len(ratios)))).values) / NORMAL
        return Assessment(calibration={"spread": spread}, metrics=scores)

    def _scores(
        self, network: nn.Module, pairs: tuple[Pair, ...], planes: Planes
    ) -> tuple[dict[str, float], Tensor]:
        """Return scores, and the errors over their standard deviations."""
        n_draws = 0
        if self.method.draws:
            n_draws, planes = (1 if planes is Planes.AXIAL else N_DRAWS), Planes.ALTERNATE
        base = None if self.base is None else self.base.network
        options = SynthesisOptions(base=base, planes=planes, n_draws=n_draws)
        synthesise = self.method.synthesiser(self.recipe, network, {}, options)
        quality, ratios = [], []
        for pair in pairs:
            channels = pair.channels.float()
            inside, truth = channels[MASK] > 0, pair.target.float()
            known = Conditions(chi=bool(channels[CHI].any()), scan=features_of(pair))
            image: Synthesis = synthesise(channels, known)
            quality.append(psnr(image.mean, truth, inside, DATA_RANGE))
            ratio = ((image.mean - truth).abs() / image.sd)[inside]
            ratios.append(ratio[torch.isfinite(ratio)])
        everything = torch.cat(ratios)
        step = max(1, len(everything) // MOST_VOXELS)
        return {"psnr": sum(quality) / len(quality)}, everything[::step]


def load_synthesiser(
    name: str,
    folder: Path | None = None,
    *,
    device: torch.device | None = None,
    planes: Planes | None = None,
    n_draws: int | None = None,
    seed: int = 0,
) -> tuple[Synthesiser, Card]:
    """Return what synthesises T1w images, by the name of its weights, and their card.

    Args:
        name: Of the weights.
        folder: Where they lie; None for those that come with the package.
        device: Where the networks run; None for the processor.
        planes: None for those of each kind.
        n_draws: None for the number of each kind.
        seed: Of the draws.

    Raises:
        InputError: The weights are absent, damaged, or do not belong together.
        UsageError: The method does not synthesise T1w images.
    """
    network, card = load_network(name, folder)
    options = SynthesisOptions(planes=planes, n_draws=n_draws, seed=seed)
    return _synthesiser(network, card, folder, device, options), card


def _synthesiser(
    network: nn.Module,
    card: Card,
    folder: Path | None,
    device: torch.device | None,
    options: SynthesisOptions,
) -> Synthesiser:
    method = trainable(card.name)
    if not isinstance(method, EchoMethod):
        raise UsageError(f"{card.name} does not synthesise T1w images")
    needed = trained_method(card.name).base
    if needed:
        base = load_base(needed, folder)
        check_base(card, base.sha256)
        options = replace(options, base=base.network if device is None else base.network.to(device))
    if device is not None:
        network = network.to(device)
    return method.synthesiser(recipe_from_plain(card.recipe), network, card.calibration, options)


def _spread(calibration: Calibration) -> float:
    return float(calibration.get("spread", 1.0))


def _regression(
    recipe: EchoRecipe, network: nn.Module, calibration: Calibration, options: SynthesisOptions
) -> Synthesiser:
    planes = options.planes or Planes.THREE
    return Regression(network=network, spread=_spread(calibration), planes=planes)


def _generator(
    recipe: EchoRecipe, network: nn.Module, calibration: Calibration, options: SynthesisOptions
) -> Synthesiser:
    if not isinstance(network, Pgan):
        raise UsageError(f"a {type(network).__name__} has no generator")
    return Regression(network=network.generator, n_outputs=1, planes=options.planes or Planes.THREE)


def _diffusion(
    recipe: EchoRecipe, network: nn.Module, calibration: Calibration, options: SynthesisOptions
) -> Synthesiser:
    return Diffusion(
        network=network,
        schedule=recipe.schedule.levels(),
        prediction=recipe.schedule.prediction,
        n_draws=N_DRAWS if options.n_draws is None else options.n_draws,
        planes=options.planes or Planes.ALTERNATE,
        seed=options.seed,
        spread=_spread(calibration),
    )


def _without_base(recipe: EchoRecipe) -> UsageError:
    return UsageError(
        f"{recipe.method} requires the weights of {trained_method(recipe.method).base}",
        remedy="Give their folder with --base of `unweight train`.",
    )


def _residual(
    recipe: EchoRecipe, network: nn.Module, calibration: Calibration, options: SynthesisOptions
) -> Synthesiser:
    if options.base is None:
        raise _without_base(recipe)
    return Residual(
        base=options.base,
        network=network,
        n_draws=options.n_draws or 0,
        planes=options.planes or Planes.ALTERNATE,
        seed=options.seed,
        spread=_spread(calibration),
    )


def _residual_task(network: TimeUNet, recipe: EchoRecipe, base: BaseNetwork | None) -> Task:
    if base is None:
        raise _without_base(recipe)
    return EchoResidualTask(unet=network, base=base.network)


FAST_DDPM = "mprage-fastddpm"
PAPER = cohort_recipe(
    FAST_DDPM,
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
    ScheduleConfig(prediction=Prediction.EPSILON),
)
RESIDUAL = EchoMethod(
    types=RecipeTypes(slabs=CohortRecipe, network=TimeUNetConfig),
    presets=cohort_presets("mprage", lambda widths: denoising_config(widths, n_said=N_ANSWERS), 4000),
    build=lambda config, generator: TimeUNet(config, generator=generator),
    build_task=_residual_task,
    synthesiser=_residual,
)
REGRESSION = EchoMethod(
    types=RecipeTypes(slabs=CohortRecipe, network=UNetConfig),
    presets=cohort_presets("mprage-unet", regression_config),
    build=lambda config, generator: UNet(config, generator=generator),
    build_task=lambda network, recipe, base: EchoRegressionTask(unet=network),
    synthesiser=_regression,
)
SCAN_REGRESSION = EchoMethod(
    types=RecipeTypes(slabs=CohortRecipe, network=ConditionedUNetConfig),
    presets=cohort_presets("mprage-conditioned", scan_regression_config, cohort=WIDE),
    build=lambda config, generator: ConditionedUNet(config, generator=generator),
    build_task=lambda network, recipe, base: EchoRegressionTask(unet=network),
    synthesiser=_regression,
)
# A step of the GAN takes half as long again as one of the others.
ADVERSARIAL = EchoMethod(
    types=RecipeTypes(slabs=CohortRecipe, network=PganConfig),
    presets=cohort_presets(
        "mprage-gan", lambda widths: PganConfig(generator=regression_config(widths, 1), n_judged=1), 5000
    ),
    build=lambda config, generator: Pgan(config, generator=generator),
    build_task=lambda network, recipe, base: EchoGanTask(pgan=network),
    synthesiser=_generator,
)
DIFFUSION = EchoMethod(
    types=RecipeTypes(slabs=CohortRecipe, network=TimeUNetConfig, schedule=ScheduleConfig),
    presets=cohort_presets(FAST_DDPM, denoising_config, schedule=ScheduleConfig(), paper=PAPER),
    build=lambda config, generator: TimeUNet(config, generator=generator),
    build_task=lambda network, recipe, base: EchoDiffusionTask(
        unet=network, schedule=recipe.schedule.levels(), prediction=recipe.schedule.prediction
    ),
    synthesiser=_diffusion,
    draws=True,
)
