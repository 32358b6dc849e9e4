"""From complex multi-echo gradient echo to magnetic susceptibility.

In the order of events: field map (`susceptibility.field_map`), voxels whose phase does not follow a line
excluded, background field removed, dipole inverted, reference subtracted. In ppm of the static field,

    B = ω/(2π·γ̄·B0),    B = B_local + B_background,    B_local = d ∗ χ.

A voxel whose phase is far from a line does not count in any of this; enclosed by others it is given what
its neighbours imply, and its status says so (IMPLAUSIBLE). The standard deviation is what noise of the
phase alone does through a linear inversion; what removal of the background and the ill-posed inversion add
is not in it, and is larger (docs/qsm.md).
"""

import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, ProtocolError
from unweight.core.estimator import Estimator, Progress
from unweight.core.maps import PHASE_RESIDUAL, ParameterMaps, VoxelStatus
from unweight.core.parameter import ParameterSpec
from unweight.fit.log_linear import LogLinear
from unweight.fit.noise_level import noise_from_background
from unweight.fit.phase_quality import PhaseQuality, assess_phase
from unweight.signals.parameters import CHI
from unweight.susceptibility.background import BackgroundRemoval
from unweight.susceptibility.closed_form import noise_of_susceptibility
from unweight.susceptibility.field_map import FieldMap, field_map, phase_coherence
from unweight.susceptibility.geometry import (
    GYROMAGNETIC_RATIO,
    Box,
    FieldGeometry,
    Triple,
    box_around,
    geometry_of,
)
from unweight.susceptibility.inversion import DipoleInversion
from unweight.susceptibility.morphology import (
    FLAT_MM,
    THIN_MM,
    Slabs,
    large_pieces,
    largest_component,
    slabs_of,
)
from unweight.susceptibility.total_variation import weighted_total_variation
from unweight.susceptibility.vsharp import vsharp

QUALITY_LIMIT = 0.35  # of the residual of the phase [rad]
WATERY, NEAR_MIDDLE_MM, LEAST_CSF = 5.0, 30.0, 50  # R2* of CSF [1/s], where it is looked for, voxels
FAST_DECAY, LEAST_FAST = (30.0, 80.0), 100  # R2* of iron and veins [1/s], and voxels to judge the sign by
NOISE, FLUCTUATION = 0.08, 4.0  # coherence of neighbours that is noise, and times 1/√N, its spread
TURNED = -0.01  # mean susceptibility of these that says that the sign is wrong [ppm]


class Reference(Enum):
    """Which mean susceptibility is called 0."""

    MEAN = "mean"
    CSF = "csf"
    NONE = "none"


RELATIVE = {
    Reference.MEAN: "its mean over the mask",
    Reference.CSF: "its mean in the CSF of the ventricles",
    Reference.NONE: "no reference (result of the inversion)",
}


class Reconstruction(NamedTuple):
    """The susceptibility, and what it was made from, on the grid of the images.

    Attributes:
        maps: Susceptibility, its standard deviation, status; the misfit is the residual of the phase.
        total: Field before removal of the background [ppm]; NaN outside the mask.
        local: Local field [ppm]; NaN where it is not known.
        notes: What a careful reader should know.
    """

    maps: ParameterMaps
    total: Float[Tensor, "x y z"]
    local: Float[Tensor, "x y z"]
    notes: tuple[str, ...]


@final
@dataclass(frozen=True, kw_only=True)
class SusceptibilityFit(Estimator[Acquisition]):
    """Susceptibility from phase.

    Attributes:
        background: Removal of background fields.
        inversion: From local field to susceptibility.
        reference: Which mean is called 0.
        bipolar: Whether every other echo was read backwards; None to see it in the data.
        direction: Of the static field in voxel axes; None to take it from the affine.
        quality_limit: Residual of the phase above which a voxel is excluded [rad]; infinite for none.
    """

    background: BackgroundRemoval = vsharp
    inversion: DipoleInversion = weighted_total_variation
    reference: Reference = Reference.MEAN
    bipolar: bool | None = None
    direction: Triple | None = None
    quality_limit: float = QUALITY_LIMIT

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """The susceptibility, relative to what is named."""
        text = f"Magnetic volume susceptibility, relative to {RELATIVE[self.reference]}"
        return (replace(CHI, description=text),)

    def accept(self, acquisition: Acquisition) -> None:
        """Return if these are complex volumes whose place in the field is known.

        Raises:
            ProtocolError: They are not; the message says why.
        """
        _facts(acquisition, self.direction)

    def __call__(self, acquisition: Acquisition, progress: Progress | None = None) -> ParameterMaps:
        """Return the susceptibility; all voxels outside the mask are without a value."""
        return self.reconstruct(acquisition, progress).maps

    def reconstruct(self, acquisition: Acquisition, progress: Progress | None = None) -> Reconstruction:
        """Return the susceptibility and what it was made from.

        Raises:
            ProtocolError: The acquisition is not accepted.
            InputError: The mask is empty, or no voxel has a phase that can be used.
        """
        times, geometry, ppm = _facts(acquisition, self.direction)
        steps = _Steps(acquisition.voxels.numel(), progress)
        inside = acquisition.inside & (acquisition.signal.abs() > 0).any(-1)
        brain = large_pieces(inside)
        box = box_around(brain)
        mask, order = box.cut(brain), torch.argsort(times)
        signal, times = box.cut(acquisition.signal)[..., order], times[order].to(acquisition.signal.real)
        slabs = slabs_of(mask, geometry.voxel_mm)
        _check_phase(signal, mask)
        result = field_map(signal, times, mask, geometry.voxel_mm, self.bipolar)
        judged = assess_phase(
            result, mask, geometry.voxel_mm, _known_noise(acquisition), self.quality_limit
        )
        steps.done(0.3)
        local = self.background(judged.rate * ppm, judged.mask, geometry, judged.trust)
        steps.done(0.5)
        chi = self.inversion(local.field, local.mask, geometry, judged.trust * local.mask)
        steps.done(0.9)
        sd = noise_of_susceptibility((judged.sd * ppm).square(), local.mask, geometry)
        r2star = _decay(signal, times)
        good = local.mask & judged.good
        if not bool(good.any()):
            raise InputError(
                "no voxel inside the mask has a usable phase",
                remedy="Check the phase images, and that the mask covers the head.",
            )
        zero = _zero(chi, good, (self.reference, r2star), geometry)
        left_out = 1 - float(brain.sum() / inside.sum())
        notes = (*_notes(result, judged, mask), *_of_pieces(slabs, left_out), *_sign(chi, good, r2star))
        output = _Reconstructed(self.parameters, chi - zero, sd, local.field, judged.rate * ppm, local.mask)
        steps.done(1.0)
        return _on_grid(acquisition, (box, mask), (result, judged, slabs), output, notes)


def _facts(
    acquisition: Acquisition, direction: Triple | None
) -> tuple[Float[Tensor, " echoes"], FieldGeometry, float]:
    """Return echo times, geometry, and what brings rad/s to ppm of the static field."""
    if acquisition.kind is not SignalKind.COMPLEX:
        raise ProtocolError(
            f"susceptibility needs the phase, and these are {acquisition.kind.value} volumes",
            remedy="Give magnitude and phase, or real and imaginary part.",
        )
    strength = acquisition.protocol.field_strength
    if strength is None:
        raise ProtocolError(
            "susceptibility needs the field strength, which is unknown",
            remedy="Add MagneticFieldStrength to the sidecar, or give --field.",
        )
    if acquisition.affine is None or len(acquisition.voxels) != 3:
        raise ProtocolError(
            "susceptibility needs 3D images with an affine matrix",
            remedy="Give NIfTI files with a valid header, or pass affine=.",
        )
    times = acquisition.protocol.require("echo_time", "susceptibility")
    geometry = geometry_of(acquisition.affine, direction)
    return times, geometry, 1 / (2 * math.pi * GYROMAGNETIC_RATIO * strength)


def _known_noise(acquisition: Acquisition) -> float | None:
    """Return the noise if it is known; of one or two echoes, which leave no residual, the background's."""
    n_echoes = acquisition.signal.shape[-1]
    if acquisition.noise_sd is not None or n_echoes > 2:
        return acquisition.noise_sd
    return noise_from_background(acquisition.signal.abs().reshape(-1, n_echoes))


class _Steps:
    """Tells progress in voxels, as all estimators do."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress = total, progress

    def done(self, share: float) -> None:
        if self._progress is not None:
            self._progress(round(share * self._total), self._total)


class _Reconstructed(NamedTuple):
    """What is put back onto the grid."""

    specs: tuple[ParameterSpec, ...]
    chi: Float[Tensor, "x y z"]
    sd: Float[Tensor, "x y z"]
    local: Float[Tensor, "x y z"]
    total: Float[Tensor, "x y z"]
    known: Bool[Tensor, "x y z"]


def _decay(
    signal: Complex[Tensor, "x y z echoes"], times: Float[Tensor, " echoes"]
) -> Float[Tensor, "x y z"] | None:
    """Return R2*, or None for a single echo."""
    if len(times) < 2:
        return None
    decay = LogLinear()(signal.abs().flatten(0, 2), times)
    return decay.rate.nan_to_num().reshape(signal.shape[:3])


def _zero(
    chi: Float[Tensor, "x y z"],
    good: Bool[Tensor, "x y z"],
    how: tuple[Reference, Float[Tensor, "x y z"] | None],
    geometry: FieldGeometry,
) -> float:
    """Return the susceptibility that is called 0."""
    reference, r2star = how
    if reference is Reference.NONE:
        return 0.0
    if reference is Reference.MEAN:
        return float(chi[good].mean())
    if r2star is None:
        raise ProtocolError("CSF cannot be located with a single echo", remedy="Use --reference mean.")
    size = torch.tensor(geometry.voxel_mm).to(chi)
    places = good.nonzero().to(chi) * size
    near = (places - places.mean(0)).norm(dim=1) < NEAR_MIDDLE_MM
    watery = torch.zeros_like(good)
    watery[good] = near & (r2star[good].abs() < WATERY)
    csf = largest_component(watery) if bool(watery.any()) else watery
    if int(csf.sum()) < LEAST_CSF:
        raise InputError(
            "no CSF was found in the middle of the brain for the reference", remedy="Use --reference mean."
        )
    return float(chi[csf].mean())


def _notes(result: FieldMap, judged: PhaseQuality, mask: Bool[Tensor, "x y z"]) -> tuple[str, ...]:
    notes = []
    if result.turned:
        notes.append(
            f"even echoes have up to {result.alternation:.2f} rad more phase than expected from odd ones; "
            "the readout is treated as bipolar and corrected"
        )
    lost = 1 - float(judged.good.sum() / mask.sum())
    if lost > 0:
        notes.append(f"{100 * lost:.2f} % of the mask excluded: the phase is not linear in echo time")
    return tuple(notes)


def _check_phase(signal: Complex[Tensor, "x y z echoes"], mask: Bool[Tensor, "x y z"]) -> None:
    """Refuse a phase that is noise throughout the mask."""
    coherence = phase_coherence(signal, mask)
    if coherence < NOISE + FLUCTUATION / math.sqrt(float(mask.sum())):
        raise InputError(
            "the phase inside the mask is noise: coherence between neighbouring voxels is "
            f"{coherence:.2f} (0 for noise, 1 for a smooth phase)",
            remedy="Check that phase and magnitude are from the same scan and the mask covers the head.",
        )


def _of_pieces(slabs: Slabs, left_out: float) -> tuple[str, ...]:
    """Say what the shape of the mask does to the values."""
    notes = []
    if slabs.n_pieces > 1:
        notes.append(
            f"the mask has {slabs.n_pieces} separate parts; the susceptibility offset between them is "
            "unknown, so values of different parts cannot be compared"
        )
    if left_out > 0:
        notes.append(f"{100 * left_out:.2g} % of the mask consists of small fragments, which are excluded")
    if slabs.thinnest_mm < THIN_MM:
        notes.append(
            f"a part of the mask is {slabs.thinnest_mm:.3g} mm thick: in slabs below {THIN_MM:g} mm "
            f"susceptibility is underestimated, below {FLAT_MM:g} mm by half or more, and these voxels are "
            "flagged"
        )
    return tuple(notes)


def _sign(
    chi: Float[Tensor, "x y z"], good: Bool[Tensor, "x y z"], r2star: Float[Tensor, "x y z"] | None
) -> tuple[str, ...]:
    """Say so if iron and veins, where decay is fast, come out diamagnetic."""
    if r2star is None:
        return ()
    fast = good & (r2star > FAST_DECAY[0]) & (r2star < FAST_DECAY[1])
    if int(fast.sum()) < LEAST_FAST:
        return ()
    if float(chi[fast].mean() - chi[good].mean()) > TURNED:
        return ()
    return (
        "susceptibility is low where R2* is high: the sign of the phase is probably reversed; see "
        "--invert-phase",
    )


def _on_grid(
    acquisition: Acquisition,
    where: tuple[Box, Bool[Tensor, "x y z"]],
    known: tuple[FieldMap, PhaseQuality, Slabs],
    output: _Reconstructed,
    notes: tuple[str, ...],
) -> Reconstruction:
    """Put everything back where it came from; NaN where there is nothing."""
    (box, mask), (result, judged, slabs) = where, known
    nothing = torch.full(acquisition.voxels, math.nan).to(acquisition.signal.real)

    def whole(values: Tensor, inside: Tensor) -> Tensor:
        return box.fill(nothing, torch.where(inside, values, torch.full_like(values, math.nan)))

    status = torch.full(output.known.shape, int(VoxelStatus.MASKED), dtype=torch.uint8, device=mask.device)
    status[output.known] = int(VoxelStatus.OK)
    status[output.known & slabs.flat] = int(VoxelStatus.AT_LIMIT)
    status[output.known & ~judged.good] = int(VoxelStatus.IMPLAUSIBLE)
    everywhere = torch.full(acquisition.voxels, int(VoxelStatus.MASKED)).to(status)
    maps = ParameterMaps(
        specs=output.specs,
        values=whole(output.chi, output.known)[..., None],
        std=whole(output.sd, output.known)[..., None],
        status=box.fill(everywhere, status),
        misfit=whole(result.residual, mask),
        noise_sd=judged.noise_sd if math.isfinite(judged.noise_sd) else None,
        affine=acquisition.affine,
        misfit_meaning=PHASE_RESIDUAL,
    )
    return Reconstruction(maps, whole(output.total, judged.mask), whole(output.local, output.known), notes)
