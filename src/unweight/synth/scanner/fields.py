"""Smooth random fields, and those of a scanner over a head.

Smooth random fields in space: cubic B-splines over a lattice of numbers.

    f(x, y, z) = Σ_ijk a_ijk β(x/h − i) β(y/h − j) β(z/h − k),    β the cubic B-spline

They are evaluated along the axes of a grid, one axis after the other. The field is a function of
position, so a slab of a head is the same slab whichever field of view it is computed in.

The smooth fields of a scanner over a head: transmit, receive, inversion, off-resonance.

Transmit field and receive sensitivity are drawn as s·exp[w·tanh(p(u)/w)], p a polynomial of second
order in the place u (in head radii from a centre that is drawn too): smooth, positive, and never
beyond s·exp(±w).

An adiabatic inversion follows the passage of Landau and Zener, cos θ = 2·exp(−a·B1²) − 1, which is
complete where B1 is high and fails where it is low; relaxation during the pulse lowers the plateau:

    B = b·[1 − exp(−a·B1²)]

Off-resonance is the field of the susceptibility times γ·B0, less the second-order polynomial that a
shim removes inside the head.

References: Zener, Proc R Soc A 137:696, 1932 (passage); Koch, Rothman, de Graaf, Prog Nucl Magn Reson
Spectrosc 54:69, 2009 (shim).
"""

import itertools
import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.susceptibility.dipole import field_from_susceptibility
from unweight.susceptibility.geometry import GYROMAGNETIC_RATIO, Triple
from unweight.synth.sampling import draw_uniform

# Mean over positions of Σ β² along one axis (151/315): white numbers of unit variance give its cube.
VARIANCE = 151 / 315
FLAT = 0.4


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SmoothField:
    """A field given by its spline coefficients.

    Attributes:
        coefficients: On the lattice.
        start_mm: Where the first node of the lattice lies along each axis [mm].
        spacing_mm: Distance between nodes [mm].
    """

    coefficients: Float[Tensor, "x y z"]
    start_mm: tuple[float, float, float]
    spacing_mm: float

    def on(
        self, x: Float[Tensor, " nx"], y: Float[Tensor, " ny"], z: Float[Tensor, " nz"]
    ) -> Float[Tensor, "nx ny nz"]:
        """Return the field on the grid these positions span [mm]."""
        return self._spread((x, y, z), None)

    def from_zero(
        self, x: Float[Tensor, " nx"], y: Float[Tensor, " ny"], z: Float[Tensor, " nz"]
    ) -> Float[Tensor, "nx ny nz"]:
        """Return about how far the surface is on which the field is 0: |f| / |∇f|, softened [mm]."""
        steepness = torch.full((len(x), len(y), len(z)), (FLAT / self.spacing_mm) ** 2)
        for axis in range(3):
            steepness += self._spread((x, y, z), axis) ** 2
        return self._spread((x, y, z), None).abs() / steepness.sqrt()

    def _spread(self, grid: tuple[Tensor, ...], along: int | None) -> Float[Tensor, "nx ny nz"]:
        """Return the field, or its slope along one axis."""
        values = self.coefficients
        for axis, positions in enumerate(grid):
            weights = self._weights(positions, axis, axis == along)
            values = torch.tensordot(values, weights, dims=([0], [1]))
        return values

    def _weights(
        self, positions: Float[Tensor, " positions"], axis: int, slope: bool
    ) -> Float[Tensor, "positions nodes"]:
        """Return the weight of each node; beyond the lattice its last numbers go on."""
        n_nodes = self.coefficients.shape[axis]
        scaled = (positions.double() - self.start_mm[axis]) / self.spacing_mm
        first = scaled.floor()
        t = scaled - first
        pieces: tuple[Tensor, ...] = (
            (1 - t) ** 3 / 6,
            (3 * t**3 - 6 * t**2 + 4) / 6,
            (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
            t**3 / 6,
        )
        if slope:
            pieces = (-((1 - t) ** 2) / 2, (3 * t**2 - 4 * t) / 2, (-3 * t**2 + 2 * t + 1) / 2, t**2 / 2)
            pieces = tuple(piece / self.spacing_mm for piece in pieces)
        weights = torch.zeros(len(positions), n_nodes, dtype=torch.float64)
        for step, piece in enumerate(pieces):
            node = (first.long() + step - 1).clamp(0, n_nodes - 1)
            weights.scatter_add_(1, node[:, None], piece[:, None])
        return weights.to(self.coefficients)


def draw_field(
    half_extent_mm: tuple[float, float, float], spacing_mm: float, generator: torch.Generator
) -> SmoothField:
    """Draw a field of mean 0 and variance 1 within a box around the origin.

    Args:
        half_extent_mm: From the middle of the box to its faces [mm].
        spacing_mm: Distance between the nodes, about half the shortest wavelength [mm].
        generator: For the coefficients.

    Raises:
        UsageError: The spacing is not positive.
    """
    if not spacing_mm > 0:
        raise UsageError(f"a lattice with a spacing of {spacing_mm} mm")
    n_half = [int(extent // spacing_mm) + 2 for extent in half_extent_mm]
    shape = [2 * n + 1 for n in n_half]
    coefficients = torch.randn(shape, generator=generator, device=generator.device) / VARIANCE**1.5
    x, y, z = (-n * spacing_mm for n in n_half)
    return SmoothField(coefficients=coefficients, start_mm=(x, y, z), spacing_mm=spacing_mm)


def axis_positions(n_voxels: int, voxel_mm: float, centre_mm: float = 0.0) -> Float[Tensor, " voxels"]:
    """Return where the voxels of an axis lie, its middle at `centre_mm` [mm]."""
    steps = torch.arange(n_voxels, dtype=torch.float64) - (n_voxels - 1) / 2
    return (steps * voxel_mm + centre_mm).float()


HEAD_RADIUS_MM = 90.0
PAIRS = ((0, 1), (0, 2), (1, 2))


@final
@dataclass(frozen=True, kw_only=True)
class Polynomial:
    """A polynomial of second order in the place, in head radii from its centre.

    Attributes:
        offset: Value at the centre.
        centre_mm: Centre, from the middle of the grid [mm].
        slope: Linear term of each axis.
        curve: Square term of each axis.
        cross: Mixed terms of the axes 0·1, 0·2, 1·2.
    """

    offset: float = 0.0
    centre_mm: Triple = (0.0, 0.0, 0.0)
    slope: Triple = (0.0, 0.0, 0.0)
    curve: Triple = (0.0, 0.0, 0.0)
    cross: Triple = (0.0, 0.0, 0.0)

    def on(self, shape: tuple[int, ...], voxel_mm: tuple[float, ...]) -> Float[Tensor, "*space"]:
        """Return the values on a grid of two or three axes (a slice lies in the middle of the third).

        Raises:
            UsageError: The grid has another number of axes.
        """
        if len(shape) not in (2, 3) or len(shape) != len(voxel_mm):
            raise UsageError(
                f"a grid {shape} with voxels {voxel_mm}",
                remedy="Give two or three axes, and as many sizes.",
            )
        places = _places(shape, voxel_mm, self.centre_mm)
        value = torch.full((1,) * len(shape), self.offset)
        for u, slope, curve in zip(places, self.slope, self.curve, strict=True):
            value = value + (slope + curve * u) * u
        for (first, second), weight in zip(PAIRS, self.cross, strict=True):
            value = value + weight * places[first] * places[second]
        return value


def transmit_field(
    shape: tuple[int, ...],
    voxel_mm: tuple[float, ...],
    generator: torch.Generator,
    field_strength: float = 3.0,
) -> Float[Tensor, "*space"]:
    """Draw B1+ as a ratio to nominal: about 1 in the centre, 20 to 30 % lower at the rim at 3 T.

    Args:
        shape: Size of the grid.
        voxel_mm: Voxel size along each axis [mm].
        generator: For the draw.
        field_strength: Static field [T]; the pattern grows with its 1.5th power.
    """
    strength = (field_strength / 3.0) ** 1.5
    pattern = Polynomial(
        centre_mm=_draw_triple(15.0, generator),
        slope=_scaled(strength, _draw_triple(0.06, generator)),
        curve=_scaled(-strength, _draw_triple_between(0.12, 0.32, generator)),
        cross=_scaled(strength, _draw_triple(0.08, generator)),
    )
    level = draw_uniform((0.92, 1.12), generator)
    return level * _bounded(pattern.on(shape, voxel_mm), 0.5)


def receive_sensitivity(
    shape: tuple[int, ...], voxel_mm: tuple[float, ...], generator: torch.Generator
) -> Float[Tensor, "*space"]:
    """Draw a real, positive sensitivity, near 1 in the centre: from a flat coil to a bright rim."""
    pattern = Polynomial(
        centre_mm=_draw_triple(20.0, generator),
        slope=_draw_triple(0.2, generator),
        curve=_draw_triple_between(-0.15, 0.4, generator),
        cross=_draw_triple(0.1, generator),
    )
    return _bounded(pattern.on(shape, voxel_mm), 1.0)


def receive_phase(
    shape: tuple[int, ...], voxel_mm: tuple[float, ...], generator: torch.Generator
) -> Float[Tensor, "*space"]:
    """Draw the phase of the coil at echo time zero [rad], of second order and not wrapped.

    With a sensitivity, `torch.polar(sensitivity, phase)` is the complex one.
    """
    pattern = Polynomial(
        offset=draw_uniform((-math.pi, math.pi), generator),
        centre_mm=_draw_triple(30.0, generator),
        slope=_draw_triple(1.0, generator),
        curve=_draw_triple(math.pi / 2, generator),
        cross=_draw_triple(0.5, generator),
    )
    return pattern.on(shape, voxel_mm)


@final
@dataclass(frozen=True, kw_only=True)
class EfficiencyPrior:
    """What the inversion efficiency B = 1 − cos θ of a scan is drawn from.

    Adiabatic pulses reach a plateau where B1+ suffices; those of other pulses follow B1+,
    B = 1 − cos(θ·B1+/B1+₀), with a nominal θ that yields the drawn B at the centre.

    Attributes:
        plateau: Plateau of an adiabatic pulse [1].
        weak: Share of scans with a plateau from `weak_plateau` instead.
        weak_plateau: That range, as fits of real scans find it [1].
        following: Share of scans whose B follows B1+.
        following_angle: Nominal angle of those pulses [rad].
        limits: B is limited to these [1].
    """

    plateau: tuple[float, float] = (1.90, 2.0)
    weak: float = 0.0
    weak_plateau: tuple[float, float] = (1.35, 2.0)
    following: float = 0.0
    following_angle: tuple[float, float] = (math.radians(140.0), math.pi)
    limits: tuple[float, float] = (0.0, 2.0)


ADIABATIC = EfficiencyPrior()
# Fits of nine real scans found 1.50 to 2.15; the upper end is what late inversion times make of 2.
MEASURED_EFFICIENCIES = EfficiencyPrior(plateau=(1.90, 2.05), weak=0.45, following=0.15, limits=(1.2, 2.05))


def central_efficiency(prior: EfficiencyPrior, generator: torch.Generator) -> float:
    """Draw B at the centre of a scan, where B1+ is nominal."""
    kind = draw_uniform((0.0, 1.0), generator)
    if kind < prior.following:
        value = 1 - math.cos(draw_uniform(prior.following_angle, generator))
    elif kind < prior.following + prior.weak:
        value = draw_uniform(prior.weak_plateau, generator)
    else:
        value = draw_uniform(prior.plateau, generator)
    return min(max(value, prior.limits[0]), prior.limits[1])


def inversion_efficiency(
    transmit: Float[Tensor, "*space"], generator: torch.Generator, prior: EfficiencyPrior = ADIABATIC
) -> Float[Tensor, "*space"]:
    """Draw B = 1 − cos θ: near its plateau where B1+ suffices, less where it is low.

    Args:
        transmit: B1+ as a ratio to nominal.
        generator: For the kind of pulse, the plateau and how fast it is reached.
        prior: What to draw from.
    """
    plateau_range = prior.plateau
    if prior.weak or prior.following:
        kind = draw_uniform((0.0, 1.0), generator)
        if kind < prior.following:
            angle = draw_uniform(prior.following_angle, generator)
            return (1 - torch.cos(angle * transmit)).clamp(*prior.limits)
        if kind < prior.following + prior.weak:
            plateau_range = prior.weak_plateau
    plateau = draw_uniform(plateau_range, generator)
    adiabaticity = draw_uniform((3.5, 7.0), generator)
    return (-plateau * torch.expm1(-adiabaticity * transmit.square())).clamp(*prior.limits)


def off_resonance(
    chi_total: Float[Tensor, "x y z"],
    mask: Bool[Tensor, "x y z"],
    voxel_mm: Triple,
    direction: Triple,
    field_strength: float,
) -> Float[Tensor, "x y z"]:
    """Return the off-resonance a second-order shim leaves [Hz]; phase grows where it is positive.

    Air and bone around the head belong in the map: most of what the shim cannot remove is theirs.

    Args:
        chi_total: Susceptibility [ppm].
        mask: Where the shim minimises the sum of squares.
        voxel_mm: Voxel size along each axis [mm].
        direction: Unit vector along the static field, in the axes of the voxels.
        field_strength: Static field [T].
    """
    ppm = field_from_susceptibility(chi_total, voxel_mm, direction)
    return shimmed(ppm * (GYROMAGNETIC_RATIO * field_strength), mask)


def shimmed(field: Float[Tensor, "x y z"], mask: Bool[Tensor, "x y z"]) -> Float[Tensor, "x y z"]:
    """Return the field less its best polynomial of second order inside the mask, on the whole grid.

    Raises:
        UsageError: The mask is empty.
    """
    if not bool(mask.any()):
        raise UsageError("the mask of the shim is empty", remedy="Give the voxels to shim on.")
    axes = [
        torch.linspace(-1, 1, n, dtype=field.dtype, device=field.device) if n > 1 else field.new_zeros(1)
        for n in field.shape
    ]
    powers = [p for p in itertools.product(range(3), repeat=3) if sum(p) <= 2]
    chosen = mask.nonzero(as_tuple=True)
    inside = [axis[index] for axis, index in zip(axes, chosen, strict=True)]
    terms = torch.stack([_monomial(inside, power) for power in powers])
    gram, onto = (terms @ terms.T).double(), (terms @ field[chosen]).double()
    weights = (torch.linalg.pinv(gram, hermitian=True) @ onto).tolist()
    spread = [axis.reshape([-1 if i == place else 1 for i in range(3)]) for place, axis in enumerate(axes)]
    removed = field.new_zeros(1, 1, 1)
    for power, weight in zip(powers, weights, strict=True):
        removed = removed + weight * _monomial(spread, power)
    return field - removed


def imperfect_shim(
    shape: tuple[int, ...],
    voxel_mm: tuple[float, ...],
    generator: torch.Generator,
    largest_hz: float = 15.0,
) -> Float[Tensor, "*space"]:
    """Draw what a shim done elsewhere or earlier leaves behind [Hz]: offset, gradients, second order.

    Args:
        shape: Size of the grid.
        voxel_mm: Voxel size along each axis [mm].
        generator: For the draw.
        largest_hz: Largest size of each coefficient, at one head radius [Hz].
    """
    pattern = Polynomial(
        offset=draw_uniform((-largest_hz, largest_hz), generator),
        slope=_draw_triple(largest_hz, generator),
        curve=_draw_triple(largest_hz / 2, generator),
        cross=_draw_triple(largest_hz / 2, generator),
    )
    return pattern.on(shape, voxel_mm)


def _places(
    shape: tuple[int, ...], voxel_mm: tuple[float, ...], centre_mm: Triple
) -> list[Float[Tensor, "..."]]:
    """Return the place along each of three axes in head radii, shaped to be broadcast over the grid."""
    places = []
    for axis in range(3):
        n, size = (shape[axis], voxel_mm[axis]) if axis < len(shape) else (1, 1.0)
        place = ((torch.arange(n) - (n - 1) / 2) * size - centre_mm[axis]) / HEAD_RADIUS_MM
        places.append(place.reshape([-1 if i == axis else 1 for i in range(len(shape))]))
    return places


def _monomial(places: list[Float[Tensor, "..."]], power: tuple[int, ...]) -> Float[Tensor, "..."]:
    value = torch.ones_like(places[0])
    for place, exponent in zip(places, power, strict=True):
        value = value * place**exponent
    return value


def _bounded(pattern: Float[Tensor, "*space"], width: float) -> Float[Tensor, "*space"]:
    return torch.exp(width * torch.tanh(pattern / width))


def _draw_triple(largest: float, generator: torch.Generator) -> Triple:
    return _draw_triple_between(-largest, largest, generator)


def _draw_triple_between(lower: float, upper: float, generator: torch.Generator) -> Triple:
    each = (lower, upper)
    return draw_uniform(each, generator), draw_uniform(each, generator), draw_uniform(each, generator)


def _scaled(factor: float, triple: Triple) -> Triple:
    return factor * triple[0], factor * triple[1], factor * triple[2]
