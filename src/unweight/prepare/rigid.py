"""Rigid registration of one image of a head onto another, by mutual information.

Both are smoothed to steps of some millimetres, coarse first. The reference is looked at on a cubic lattice
that is turned against its own axes: on a common lattice, interpolation between thick slices favours shifts
by part of a slice (Pluim et al., Comput Vis Image Underst 77:211, 2000). The metric is that of Mattes et
al., IEEE Trans Med Imaging 22:120, 2003, with the slope of the moving image itself: the smoothed slope that
ITK takes by default has the width of the thickest slice, and leads astray. In the steps of the search a
turn counts as a path on a lever of some centimetres; on one as long as a head is wide, the search ends
before it has turned. Every voxel is used, by one thread, so that the result is the same each time.
"""

import logging
import math
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from unweight.core.errors import InputError
from unweight.prepare.itk import one_thread, rigid_matrix, simpleitk, to_itk
from unweight.prepare.lattice import PlacedImage, VoxelGrid
from unweight.prepare.resample import resampled, resampled_mask, thinned

LOG = logging.getLogger(__name__)

TILT = tuple(math.radians(angle) for angle in (7.0, 11.0, 13.0))
LEAST_OVERLAP = 0.4
LARGEST_TURN = math.radians(60.0)
SAME_PLACE_MM = 1.0
REMEDY = "Register them with another program, and give --no-register."


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Rigid:
    """Where the head of one image lies in another.

    Attributes:
        matrix: From a point in the reference to the same point of the head in the moving image [mm, RAS+].
        centre: What the shift is said of: the middle of the head in the reference [mm].
    """

    matrix: Float64[Tensor, "4 4"]
    centre: Float64[Tensor, " 3"]

    @property
    def angles(self) -> tuple[float, float, float]:
        """Rotations about x, then y, then z [rad]."""
        turn = self.matrix[:3, :3]
        x = math.atan2(float(turn[2, 1]), float(turn[2, 2]))
        y = math.asin(max(-1.0, min(1.0, -float(turn[2, 0]))))
        z = math.atan2(float(turn[1, 0]), float(turn[0, 0]))
        return x, y, z

    @property
    def turn(self) -> float:
        """Angle of the one rotation that all three make together [rad]."""
        return math.acos(max(-1.0, min(1.0, (float(self.matrix[:3, :3].trace()) - 1) / 2)))

    @property
    def shift_mm(self) -> tuple[float, float, float]:
        """Shift of the centre along x, y and z [mm]."""
        x, y, z = (self.matrix[:3, :3] @ self.centre + self.matrix[:3, 3] - self.centre).tolist()
        return x, y, z


@final
@dataclass(frozen=True, kw_only=True)
class RigidRegistration:
    """How two images are registered.

    Attributes:
        steps_mm: Resolution of each level, coarse first [mm].
        n_bins: Of the joint histogram, along each axis.
        n_iterations: Steps of the search at each level, at most.
        least_step_mm: The search ends where its steps are shorter [mm].
        relaxation: By what the steps shrink where the search turns round.
        lever_mm: Path of a turn by 1 rad [mm].
    """

    steps_mm: tuple[float, ...] = (8.0, 4.0, 2.5)
    n_bins: int = 48
    n_iterations: int = 150
    least_step_mm: float = 0.005
    relaxation: float = 0.7
    lever_mm: float = 32.0

    def __call__(
        self, reference: PlacedImage, moving: PlacedImage, region: Bool[Tensor, "x y z"] | None = None
    ) -> Rigid:
        """Find where the head of the reference lies in the moving image.

        Args:
            reference: What is registered to.
            moving: What is registered.
            region: Where to look, in the reference; None for all of it. The brain with some margin is best:
                scalp fat is shifted against water along the slice direction, the jaw moves by itself.

        Raises:
            UsageError: SimpleITK is not installed.
            InputError: The images hardly overlap, or no sensible place is found.
        """
        known = torch.isfinite(reference.values)
        region = known if region is None else region & known
        if not bool(region.any()):
            raise InputError("there is nothing to register: the reference is empty here", remedy=REMEDY)
        centre = _centroid(region, reference.affine)
        best_start: Any = None
        with one_thread():
            for step in self.steps_mm:
                level = _Level.of(reference, moving, region, step)
                search = self._search(level, step)
                if best_start is None:
                    best_start = _best_start(level, search, _starts(reference, moving, centre))
                best_start = _improved(level, search, best_start)
        rigid = Rigid(matrix=rigid_matrix(best_start), centre=centre)
        _check(rigid, level)
        return rigid

    def _search(self, level: "_Level", step: float) -> Any:
        itk = simpleitk()
        search = itk.ImageRegistrationMethod()
        search.SetMetricAsMattesMutualInformation(self.n_bins)
        search.SetMetricSamplingStrategy(search.NONE)
        search.MetricUseFixedImageGradientFilterOff()
        search.MetricUseMovingImageGradientFilterOff()
        search.SetMetricFixedMask(to_itk(level.region, level.lattice.affine))
        search.SetInterpolator(itk.sitkLinear)
        search.SetOptimizerAsRegularStepGradientDescent(
            learningRate=step / 2,
            minStep=self.least_step_mm,
            numberOfIterations=self.n_iterations,
            relaxationFactor=self.relaxation,
            gradientMagnitudeTolerance=1e-9,
        )
        search.SetOptimizerScales([self.lever_mm**2] * 3 + [1.0] * 3)
        return search


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Level:
    """Both images at one resolution."""

    fixed: Any
    moving: Any
    lattice: VoxelGrid
    region: Bool[Tensor, "x y z"]
    moving_lattice: VoxelGrid

    @classmethod
    def of(
        cls, reference: PlacedImage, moving: PlacedImage, region: Bool[Tensor, "x y z"], step: float
    ) -> "_Level":
        """Look at both images in steps of so many millimetres."""
        lattice = _tilted(reference.lattice, step)
        fixed = resampled(reference, lattice)
        here = resampled_mask(region, reference.lattice, lattice) & torch.isfinite(fixed)
        coarse = thinned(moving, step)
        return cls(
            fixed=to_itk(fixed.nan_to_num(), lattice.affine),
            moving=to_itk(coarse.values, coarse.affine),
            lattice=lattice,
            region=here,
            moving_lattice=coarse.lattice,
        )

    def overlap(self, matrix: Float64[Tensor, "4 4"]) -> float:
        """Return the share of the region that the moving image covers."""
        everywhere = torch.ones(self.moving_lattice.shape, dtype=torch.bool)
        covered = resampled_mask(everywhere, self.moving_lattice, self.lattice, matrix)
        return float(covered[self.region].float().mean())


def _tilted(lattice: VoxelGrid, step: float) -> VoxelGrid:
    """Return a cubic lattice over a field of view, turned against its axes."""
    turned = lattice.axes @ _rotation(*TILT)
    ends = torch.tensor([(-0.5, n - 0.5) for n in lattice.shape], dtype=torch.float64)
    corners = torch.cartesian_prod(*ends) @ lattice.affine[:3, :3].T + lattice.affine[:3, 3]
    along = corners @ turned
    lowest = along.min(0).values
    x, y, z = ((along.max(0).values - lowest) / step).ceil().long().add(1).tolist()
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = turned * step
    affine[:3, 3] = turned @ lowest
    return VoxelGrid(shape=(x, y, z), affine=affine)


def _rotation(x: float, y: float, z: float) -> Float64[Tensor, "3 3"]:
    """Return rotations about x, then y, then z as one matrix."""
    matrix = torch.eye(3, dtype=torch.float64)
    for angle, (a, b) in ((x, (1, 2)), (y, (2, 0)), (z, (0, 1))):
        eye = torch.eye(3, dtype=torch.float64)
        eye[a, a] = eye[b, b] = math.cos(angle)
        eye[b, a] = math.sin(angle)
        eye[a, b] = -math.sin(angle)
        matrix = eye @ matrix
    return matrix


def _centroid(weight: Tensor, affine: Float64[Tensor, "4 4"]) -> Float64[Tensor, " 3"]:
    """Return the centre of mass [mm]."""
    mass = weight.double().nan_to_num()
    total = mass.sum()
    means = []
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        along = mass.sum(others)
        means.append((along * torch.arange(len(along), dtype=torch.float64)).sum() / total)
    return affine[:3, :3] @ torch.stack(means) + affine[:3, 3]


def _starts(reference: PlacedImage, moving: PlacedImage, centre: Float64[Tensor, " 3"]) -> list[Any]:
    """Return transforms to start from: as the scanner says, middle on middle, and mass on mass."""
    shifts = [torch.zeros(3, dtype=torch.float64), moving.lattice.centre - reference.lattice.centre]
    if float(moving.values.nan_to_num().sum()) > 0 and float(reference.values.nan_to_num().sum()) > 0:
        masses = (_centroid(item.values, item.affine) for item in (moving, reference))
        shifts.append(next(masses) - next(masses))
    starts: list[Any] = []
    for index, shift in enumerate(shifts):
        if any(float((shift - other).norm()) < SAME_PLACE_MM for other in shifts[:index]):
            continue
        start = simpleitk().Euler3DTransform()
        start.SetCenter([-float(centre[0]), -float(centre[1]), float(centre[2])])
        start.SetTranslation([-float(shift[0]), -float(shift[1]), float(shift[2])])
        starts.append(start)
    return starts


def _best_start(level: _Level, search: Any, starts: list[Any]) -> Any:
    """Return the start with the most mutual information, of those that overlap."""
    scored = [
        (_metric(level, search, start), index)
        for index, start in enumerate(starts)
        if level.overlap(rigid_matrix(start)) >= LEAST_OVERLAP
    ]
    if not scored:
        raise InputError(
            "the images have little anatomy in common",
            remedy="Check that both images show the same head. " + REMEDY,
        )
    return starts[min(scored)[1]]


def _improved(level: _Level, search: Any, start: Any) -> Any:
    """Return where the search ends, unless it started better."""
    before = _metric(level, search, start)
    end = simpleitk().Euler3DTransform(start)
    search.SetInitialTransform(end, inPlace=True)
    try:
        search.Execute(level.fixed, level.moving)
    except RuntimeError as error:
        raise InputError("the registration failed: the images hardly overlap", remedy=REMEDY) from error
    LOG.debug("registration: %s, metric %.4f", search.GetOptimizerStopConditionDescription(), before)
    return end if _metric(level, search, end) <= before else start


def _metric(level: _Level, search: Any, transform: Any) -> float:
    search.SetInitialTransform(transform, inPlace=False)
    try:
        return float(search.MetricEvaluate(level.fixed, level.moving))
    except RuntimeError:
        return math.inf


def _check(rigid: Rigid, level: _Level) -> None:
    if rigid.turn > LARGEST_TURN or level.overlap(rigid.matrix) < LEAST_OVERLAP:
        raise InputError(
            f"the result of the registration is implausible (a rotation of {rigid.turn:.2f} rad, "
            f"{100 * level.overlap(rigid.matrix):.0f} % overlap)",
            remedy="Check that both images show the same head. " + REMEDY,
        )
