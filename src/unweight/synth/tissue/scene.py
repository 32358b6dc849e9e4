"""What fills each voxel of a simulated acquisition, the fields over it, its signal and its truth.

A voxel holds fractions f_m of materials. Its signal is the sum of theirs,

    S = Σ_m f_m·S(θ_m),

signed or complex, so that partial volume mixes signals and never parameters; magnitudes are taken after
noise (`synth.scanner.measure`). White matter can have a short component: a share of its proton density with
another T1.

Truth in a mixed voxel is defined once, here, whatever the protocol: PD is Σ f_m·PD_m, and rates (1/T1,
1/T2, R2star) are means weighted by f_m·PD_m, the water that gives the signal: the rate at which the sum
begins to relax; susceptibility is Σ f_m·χ_m, for its field knows no water. In a pure voxel that is the
material's own value; the short component of white matter does not count. `purity` is the largest weight,
so that whoever learns from mixed voxels can trust them less (docs/decisions/0008).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import Protocol
from unweight.signals.model import SeparableModel, Signal, SignalModel
from unweight.synth.tissue.materials import BRAIN, INDEX, MATERIALS, PROPERTIES
from unweight.synth.tissue.prior import DECAY_PER_PPM

TEXTURED = ("T1", "T2", "PD")
TIMES = ("T1", "T2")
KNOWN = ("B1", "B")  # fields that models take as given where they do not fit them
WHITE = INDEX["white_matter"]
PROPERTY = {name: index for index, name in enumerate(PROPERTIES)}
HALF = 0.5
CHI = [PROPERTY["chi_plus"], PROPERTY["chi_minus"]]
IN_BRAIN = torch.tensor([name in BRAIN for name in MATERIALS])


def density_of(model: SignalModel) -> str:
    """Return the parameter of a model that stands for PD: its amplitude, if it names one."""
    return model.amplitude[0].name if isinstance(model, SeparableModel) else "PD"


class Occupants(NamedTuple):
    """Every material in every voxel, as one flat list.

    Attributes:
        voxel: Flat index of the voxel.
        material: Index into MATERIALS.
        fraction: Share of the voxel.
    """

    voxel: Int[Tensor, " occupants"]
    material: Int[Tensor, " occupants"]
    fraction: Float[Tensor, " occupants"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """Materials, their properties, and the fields.

    Attributes:
        fractions: Share of each material in each voxel.
        properties: T1 [s], T2 [s], PD, R2star [1/s], chi_plus and chi_minus [ppm] of each material.
        texture: Deviation of ln T1, ln T2 and ln PD within a tissue.
        fields: Maps by parameter name: `B`, `B1`, `receive`, `frequency` [Hz], `phase` [rad]. What a
            model needs and is not given is 1 for `B1` and `receive`, 2 for `B` and 0 for the others.
        short_fraction: Share of white matter's water in the short component.
        short_t1: T1 of the short component [s].
        affine: Voxel index to millimetres (RAS+).
        magnetic: Deviation of ln χ+ and ln |χ−| within the tissues of the brain; R2* follows it, and then
            the texture of T2 too. None for tissues that are magnetically even.
        field_strength: By which R2* follows χ [T].
    """

    fractions: Float[Tensor, "*voxels materials"]
    properties: Float[Tensor, "materials properties"]
    texture: Float[Tensor, "*voxels textured"]
    fields: Mapping[str, Tensor]  # shapes are checked here, with a message
    short_fraction: float = 0.0
    short_t1: float = 0.05
    affine: Float[Tensor, "4 4"] | None = None
    magnetic: Float[Tensor, "*voxels 2"] | None = None
    field_strength: float = 3.0

    def __post_init__(self) -> None:
        if self.properties.shape != (len(MATERIALS), len(PROPERTIES)):
            raise UsageError(
                f"properties of shape {tuple(self.properties.shape)}",
                remedy=f"Give {len(PROPERTIES)} properties of {len(MATERIALS)} materials.",
            )
        for name, values in self.fields.items():
            if values.shape != self.fractions.shape[:-1]:
                raise UsageError(f"the field {name} is not on the grid of the scene")

        if self.magnetic is not None and self.magnetic.shape[:-1] != self.fractions.shape[:-1]:
            raise UsageError("the magnetic texture is not on the grid of the scene")

    def to(self, device: torch.device) -> "Scene":
        """Return the scene on another device."""
        return replace(
            self,
            fractions=self.fractions.to(device),
            properties=self.properties.to(device),
            texture=self.texture.to(device),
            fields={name: values.to(device) for name, values in self.fields.items()},
            magnetic=None if self.magnetic is None else self.magnetic.to(device),
        )

    @property
    def shape(self) -> torch.Size:
        """Shape of the grid."""
        return self.fractions.shape[:-1]

    def share(self, *materials: str) -> Float[Tensor, "*voxels"]:
        """Return the share of some materials together in each voxel."""
        return self.fractions[..., [INDEX[name] for name in materials]].sum(-1)

    def signal(self, model: SignalModel, protocol: Protocol) -> Signal:
        """Return the noise-free signal of a signed or complex model."""
        occupants = self._occupants()
        density = density_of(model)
        sources = ["PD" if spec.name == density else spec.name for spec in model.parameters]
        columns = [self._values(name, occupants) for name in sources]
        theta = torch.stack(columns, dim=-1)
        known = {name: self._field(name, occupants.voxel) for name in KNOWN if name in self.fields}
        share = occupants.fraction
        names = [spec.name for spec in model.parameters]
        white = (occupants.material == WHITE) & (self.short_fraction > 0)
        share = torch.where(white, share * (1 - self.short_fraction), share)
        parts = model(theta, protocol, known) * share[:, None]
        total = torch.zeros(
            (self.shape.numel(), parts.shape[-1]), dtype=parts.dtype, device=parts.device
        ).index_add_(0, occupants.voxel, parts)
        if "T1" in names and bool(white.any()):
            short = theta[white]
            short[:, names.index("T1")] = self.short_t1
            some = {name: values[white] for name, values in known.items()}
            water = self.short_fraction * occupants.fraction[white]
            extra = model(short, protocol, some) * water[:, None]
            total.index_add_(0, occupants.voxel[white], extra)
        return total.reshape(*self.shape, -1)

    def truth(
        self, specs: tuple[ParameterSpec, ...], gain: float = 1.0, density: str = "PD"
    ) -> ParameterMaps:
        """Return the true maps; where there is no water, NaN.

        Args:
            specs: The maps wanted.
            gain: Stored intensity over that of the scene; PD comes in the unit of what is stored.
            density: Name of the map of PD; models call it M0 or S0, too.
        """
        occupants = self._occupants()
        count = self.shape.numel()
        water = occupants.fraction * self._values("PD", occupants)
        total = torch.zeros(count).to(water).index_add_(0, occupants.voxel, water)
        columns = []
        for spec in specs:
            if spec.name == density:
                columns.append(gain * total)
                continue
            if spec.name == "Chi":
                columns.append(self.susceptibility.reshape(-1))
                continue
            values = self._values(spec.name, occupants)
            if spec.name in PROPERTY:
                rate = 1 / values if spec.name in TIMES else values
                weighted = torch.zeros(count).to(water).index_add_(0, occupants.voxel, water * rate)
                columns.append(total / weighted if spec.name in TIMES else weighted / total)
            else:
                columns.append(self._field(spec.name, torch.arange(count, device=water.device)))
        empty = total <= 0
        values = torch.stack(columns, dim=-1).masked_fill(empty[:, None], torch.nan)
        status = torch.where(empty, int(VoxelStatus.MASKED), int(VoxelStatus.OK)).to(torch.uint8)
        return ParameterMaps(
            specs=specs,
            values=values.reshape(*self.shape, -1),
            std=torch.zeros_like(values).masked_fill(empty[:, None], torch.nan).reshape(*self.shape, -1),
            status=status.reshape(self.shape),
            affine=self.affine,
        )

    @property
    def susceptibility(self) -> Float[Tensor, "*voxels"]:
        """Susceptibility of each voxel, mixed by volume whether there is water or not [ppm]."""
        even = self.fractions @ self.properties[:, CHI].sum(-1)
        if self.magnetic is None:
            return even
        parts = self.fractions @ (self.properties[:, CHI] * IN_BRAIN.to(even)[:, None])
        return even + (parts * self.magnetic.expm1()).sum(-1)

    @property
    def purity(self) -> Float[Tensor, "*voxels"]:
        """Largest share of a single material in the water of each voxel; 0 where there is none."""
        water = self.fractions * self.properties[:, PROPERTY["PD"]]
        return torch.where(water.sum(-1) > 0, water.amax(-1) / water.sum(-1).clamp(min=1e-12), 0.0)

    @property
    def mixing(self) -> Float[Tensor, "*voxels"]:
        """Standard deviation of ln T1 over the water of each voxel: how far T1 is a matter of definition.

        0 in a pure voxel, 0.3 half way between grey and white matter, 0.5 between grey matter and CSF.
        """
        water = self.fractions * self.properties[:, PROPERTY["PD"]]
        share = water / water.sum(-1, keepdim=True).clamp(min=1e-12)
        log_t1 = self.properties[:, PROPERTY["T1"]].clamp(min=1e-6).log()
        mean = share @ log_t1
        return (share @ log_t1.square() - mean.square()).clamp(min=0).sqrt()

    def _occupants(self) -> Occupants:
        flat = self.fractions.reshape(-1, self.fractions.shape[-1])
        wet = flat * (self.properties[:, PROPERTY["PD"]] > 0)
        voxel, material = wet.nonzero(as_tuple=True)
        return Occupants(voxel, material, flat[voxel, material])

    def _values(self, name: str, occupants: Occupants) -> Float[Tensor, " occupants"]:
        """Return one parameter of each occupant."""
        if name not in PROPERTY:
            return self._field(name, occupants.voxel)
        values = self.properties[occupants.material, PROPERTY[name]]
        if name in TEXTURED:
            texture = self.texture[..., TEXTURED.index(name)].reshape(-1)[occupants.voxel]
            values = values * texture.exp()
        if name == "PD":
            values = values * self._field("receive", occupants.voxel)
        if name == "R2star" and self.magnetic is not None:
            values = values + self._decay(occupants)
        return values

    def _decay(self, occupants: Occupants) -> Float[Tensor, " occupants"]:
        """Return by how much R2* departs from that of the tissue [1/s]; never so far as to end it."""
        if self.magnetic is None:
            return torch.zeros_like(occupants.fraction)
        rows = self.properties[occupants.material]
        magnetic = self.magnetic.reshape(-1, 2)[occupants.voxel].expm1()
        ppm = (rows[:, CHI] * magnetic * rows.new_tensor([1.0, -1.0])).sum(-1)
        t2 = self.texture[..., TEXTURED.index("T2")].reshape(-1)[occupants.voxel]
        change = DECAY_PER_PPM * self.field_strength * ppm + (-t2).expm1() / rows[:, PROPERTY["T2"]]
        change = change * IN_BRAIN.to(rows)[occupants.material]
        return torch.maximum(change, -HALF * rows[:, PROPERTY["R2star"]])

    def _field(self, name: str, voxel: Int[Tensor, " occupants"]) -> Float[Tensor, " occupants"]:
        if name in self.fields:
            return self.fields[name].reshape(-1)[voxel]
        constant = {"receive": 1.0, "B1": 1.0, "B": 2.0, "frequency": 0.0, "phase": 0.0}.get(name)
        if constant is None:
            raise UsageError(f"a scene has no {name}", remedy="Give it as a field.")
        return torch.full(voxel.shape, constant, dtype=self.properties.dtype, device=voxel.device)
