"""What T1 methods are tried on: acquisitions with their truth, and which voxels belong together.

Here the phantom and independent voxels; heads are in `benchmark.t1.heads`, small structures in
`benchmark.t1.detail`, real data in `benchmark.t1.real`. The noise of an acquisition is given only in the
set with the exact posterior, which needs it: a user's files do not give it either.
"""

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.benchmark.t1.published import SPHERE_NAMES
from unweight.core.acquisition import Acquisition
from unweight.core.errors import UsageError
from unweight.core.estimator import Estimator
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.seeding import seeded_generator
from unweight.fit.grid_posterior import GridPosterior
from unweight.metrics.accuracy import T1_BIN_NAMES, t1_bins
from unweight.metrics.scores import Groups
from unweight.phantom.digital import DigitalPhantom, SliceGrid, digital_phantom
from unweight.phantom.facts import sphere_array
from unweight.phantom.spheres import ROI_RADIUS_MM
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Rician
from unweight.signals.parameters import PD, T1, B
from unweight.synth.iid_voxels import ScatterPrior, scatter
from unweight.synth.protocols.standard import seven_inversions
from unweight.synth.simulate import simulate_phantom

SNR = 50.0
STORED = 1000.0  # intensity of a PD of 1, as scanners store it
PHANTOM, SCATTERED = "phantom", "scattered"
ALL = "all"
EXACT = "exact"
PLATE, VERSION, FIELD = 5, 2, 3.0
FIELD_OF_VIEW = 240  # voxels along each axis of the plane
VOXEL_MM = (1.0, 1.0, 2.0)
ANY_PD = (0.02, 10.0)
SCATTERED_SHAPE = (32, 48)
TRUTH = "truth"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Structure:
    """Something small, and what it is compared with.

    Attributes:
        name: What it is.
        inside: Its voxels, edges included.
        around: Its surround, edges included.
    """

    name: str
    inside: Bool[Tensor, "*voxels"]
    around: Bool[Tensor, "*voxels"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One acquisition to map.

    Attributes:
        acquisition: What a method gets.
        truth: True maps, or those of a reference method; None where there is neither.
        scored: Voxels that are scored.
        groups: Ways to divide the scored voxels, in their order; the same names in all trials of a set.
        structures: Whose contrast is measured.
    """

    acquisition: Acquisition
    truth: ParameterMaps | None
    scored: Bool[Tensor, "*voxels"]
    groups: tuple[Groups, ...]
    structures: tuple[Structure, ...] = ()

    def __post_init__(self) -> None:
        count = int(self.scored.sum())
        for groups in self.groups:
            if len(groups.index) != count:
                raise UsageError(f"{len(groups.index)} voxels in groups, but {count} are scored")

    @property
    def n_slices(self) -> int:
        """Slices, counted along the third axis."""
        voxels = self.acquisition.voxels
        return max(1, voxels[2:].numel())

    @property
    def true_t1(self) -> Float[Tensor, " scored"]:
        """True T1 of the scored voxels [s]; NaN where it is not known."""
        if self.truth is None:
            return torch.full((int(self.scored.sum()),), torch.nan)
        return self.truth.value("T1")[self.scored]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TrialSet:
    """Trials that are scored together.

    Attributes:
        name: Of the set in the table of scores.
        trials: One or more; the methods see one at a time.
        reference: Whose T1 the truth is: `truth`, or a method.
        yardstick: The best possible method for this set, if one is known; it is run beside the others.
        spheres: Whether groups are spheres, whose mean is of interest.
    """

    name: str
    trials: tuple[Trial, ...]
    reference: str = TRUTH
    yardstick: Estimator[Acquisition] | None = None
    spheres: bool = False

    def __post_init__(self) -> None:
        if not self.trials:
            raise UsageError(f"a set called {self.name} with nothing in it")
        names = [tuple(groups.names for groups in trial.groups) for trial in self.trials]
        if len(set(names)) > 1:
            raise UsageError(f"the trials of {self.name} are divided in different ways")

    @property
    def groups(self) -> tuple[Groups, ...]:
        """The ways to divide the scored voxels of all trials, one after the other."""
        return tuple(
            Groups(names=parts[0].names, index=torch.cat([part.index for part in parts]))
            for parts in zip(*(trial.groups for trial in self.trials), strict=True)
        )


def everything(count: int) -> Groups:
    """Return all voxels as one group."""
    return Groups(names=(ALL,), index=torch.zeros(count, dtype=torch.int64))


def binned(t1: Float[Tensor, " voxels"]) -> Groups:
    """Return groups by true T1."""
    return Groups(names=T1_BIN_NAMES, index=t1_bins(t1.contiguous()))


def known_maps(
    values: Float[Tensor, "*voxels parameters"], affine: Float[Tensor, "4 4"] | None = None
) -> ParameterMaps:
    """Return known T1, PD and B as maps; NaN in any of them says that there is none."""
    empty = ~torch.isfinite(values).all(-1)
    held = values.masked_fill(empty[..., None], torch.nan)
    return ParameterMaps(
        specs=(T1, PD, B),
        values=held,
        std=torch.zeros_like(held).masked_fill(empty[..., None], torch.nan),
        status=torch.where(empty, int(VoxelStatus.MASKED), int(VoxelStatus.OK)).to(torch.uint8),
        affine=affine,
    )


def plate(margin: int = 0) -> DigitalPhantom:
    """Return plate 5 as it lies in one slice, with more field of view on every side [voxels]."""
    size = FIELD_OF_VIEW + 2 * margin
    grid = SliceGrid(shape=(size, size, 1), voxel_mm=VOXEL_MM)
    return digital_phantom(sphere_array(PLATE, VERSION, FIELD), grid=grid)


def phantom_scan(phantom: DigitalPhantom, seed: int) -> Acquisition:
    """Return the seven inversions of a phantom at an SNR of 50 (PD of 1 over noise)."""
    acquisition = simulate_phantom(
        phantom,
        InversionRecovery(),
        seven_inversions().protocol,
        Rician(sigma=1.0 / SNR),
        seeded_generator(seed, "evaluation", PHANTOM),
    )
    return replace(acquisition, signal=(STORED * acquisition.signal).float())


def spheres_of(phantom: DigitalPhantom) -> tuple[Bool[Tensor, "x y z"], Groups]:
    """Return the voxels well inside the spheres, as the analyser has them, and the sphere of each."""
    sphere = torch.full(phantom.labels.shape, -1)
    x, y = (
        torch.arange(count, dtype=torch.float64) * size
        for count, size in zip(phantom.labels.shape[:2], VOXEL_MM[:2], strict=True)
    )
    for number, (first, second) in enumerate(phantom.centres_mm.tolist()):
        disc = (x[:, None] - first) ** 2 + (y - second) ** 2 <= ROI_RADIUS_MM**2
        sphere[disc[..., None] & phantom.pure & (phantom.labels == number + 1)] = number
    scored = sphere >= 0
    return scored, Groups(names=SPHERE_NAMES, index=sphere[scored])


def phantom_set(n_seeds: int) -> TrialSet:
    """Return plate 5 with different noise.

    Raises:
        UsageError: No seed is asked for.
    """
    if n_seeds < 1:
        raise UsageError(f"{n_seeds} noise seeds", remedy="Give at least one.")
    phantom = plate()
    scored, spheres = spheres_of(phantom)
    truth = phantom.truth
    groups = (everything(int(scored.sum())), spheres, binned(truth.value("T1")[scored]))
    trials = (
        Trial(acquisition=phantom_scan(phantom, seed), truth=truth, scored=scored, groups=groups)
        for seed in range(n_seeds)
    )
    return TrialSet(name=PHANTOM, trials=tuple(trials), spheres=True)


def scattered_set(shape: tuple[int, int] = SCATTERED_SHAPE) -> TrialSet:
    """Return voxels drawn alone, with the exact posterior of each as the yardstick.

    B is drawn for each voxel too, so that nothing is to be learnt from neighbours, and the noise is told.
    """
    prior = ScatterPrior(level=0.0, snr=(SNR, SNR))
    scan = seven_inversions()
    one = scatter(prior, scan, shape, seeded_generator(0, "evaluation", SCATTERED))
    acquisition = Acquisition(signal=one.signal, protocol=scan.protocol, noise_sd=one.noise_sd)
    scored = torch.ones(shape, dtype=torch.bool)
    t1 = one.truth[..., 0].reshape(-1)
    trial = Trial(
        acquisition=acquisition,
        truth=known_maps(one.truth),
        scored=scored,
        groups=(everything(len(t1)), binned(t1)),
    )
    exact = GridPosterior(
        pd_range=ANY_PD,  # no method knows the unit of PD
        t1_range=prior.t1,
        b_range=prior.efficiency,
        complete=None,  # as the scan has it: its TR term follows B
    )
    return TrialSet(name=SCATTERED, trials=(trial,), yardstick=exact)
