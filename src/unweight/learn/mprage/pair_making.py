"""From the images of one subject to a pair to learn from: the way simulated and real subjects go alike.

echoes       → brain, R2*, χ → channels
T1w on their grid → bias field out, white matter at 1 → target
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, ProtocolError
from unweight.fit.log_linear import LogLinear
from unweight.fit.susceptibility import SusceptibilityFit
from unweight.learn.mprage.echo_channels import echo_channels
from unweight.learn.mprage.intensity import on_own_scale
from unweight.learn.mprage.pair import Pair, box_of, half
from unweight.prepare.echo_mask import find_brain_in_echoes
from unweight.susceptibility.geometry import geometry_of

MARGIN, LEAST = 3, 64  # voxels around the brain, and along each axis


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class EchoMaps:
    """What was made of the echoes of one subject.

    Attributes:
        magnitude: By rising TE.
        echo_time: [s]
        mask: The brain.
        r2star: [1/s]; NaN outside the mask.
        chi: [ppm]; NaN where it is not known. None without phase.
        voxel_mm: Size of a voxel [mm].
        notes: What a careful reader should know.
    """

    magnitude: Float[Tensor, "x y z echoes"]
    echo_time: Float[Tensor, " echoes"]
    mask: Bool[Tensor, "x y z"]
    r2star: Float[Tensor, "x y z"]
    chi: Float[Tensor, "x y z"] | None
    voxel_mm: tuple[float, float, float]
    notes: tuple[str, ...] = ()

    def channels(self) -> Float[Tensor, "7 x y z"]:
        """Return what a network sees."""
        return echo_channels(
            self.magnitude, self.echo_time, (self.r2star, self.chi), self.mask, self.voxel_mm
        )


def maps_of_echoes(
    acquisition: Acquisition,
    fit: SusceptibilityFit | None = None,
    given: Mapping[str, Float[Tensor, "x y z"]] | None = None,
) -> EchoMaps:
    """Find the brain, R2* and, where there is phase, χ.

    Args:
        acquisition: Complex or magnitude echoes; with a mask, that one is taken.
        fit: How χ is found.
        given: Maps that are known already, `R2star` [1/s] or `Chi` [ppm]; they are not made then.

    Raises:
        InputError: There is no brain to find, or a given map is on another grid.
        ProtocolError: There are too few echoes, or no affine.
    """
    given = given or {}
    if acquisition.affine is None or len(acquisition.voxels) != 3:
        raise ProtocolError("echoes of a volume with three axes and an affine are needed")
    times = acquisition.protocol.require("echo_time", "R2*")
    order = times.argsort()
    magnitude = acquisition.signal.abs()[..., order.to(acquisition.signal.device)].float()
    times = times[order].to(magnitude)
    voxel_mm = geometry_of(acquisition.affine).voxel_mm
    for name, values in given.items():
        if values.shape != acquisition.voxels:
            raise InputError(f"the map {name} given is not on the grid of the echoes")
    if acquisition.mask is None:
        acquisition = replace(acquisition, mask=find_brain_in_echoes(magnitude, voxel_mm))
    mask = acquisition.inside & (magnitude > 0).any(-1)
    r2star = given.get("R2star")
    if r2star is None:
        # Not `RelaxationFit`, which is right near the noise floor too: the networks have learned from this
        # R2*, and its error is part of what they know. Another estimator wants another training.
        solver = LogLinear()
        solver.accept(times)
        r2star = torch.full(mask.shape, torch.nan).to(magnitude)
        r2star[mask] = solver(magnitude[mask], times).rate
    chi = given.get("Chi")
    notes: tuple[str, ...] = ()
    if chi is None and acquisition.kind is SignalKind.COMPLEX:
        made = (SusceptibilityFit() if fit is None else fit).reconstruct(acquisition)
        chi, notes = made.maps.values[..., 0].to(magnitude), made.notes
    return EchoMaps(
        magnitude=magnitude,
        echo_time=times,
        mask=mask,
        r2star=r2star.to(magnitude),
        chi=None if chi is None else chi.to(magnitude),
        voxel_mm=voxel_mm,
        notes=notes,
    )


def make_pair(
    maps: EchoMaps,
    t1w: Float[Tensor, "x y z"],
    affine: Float[Tensor, "4 4"],
    labels: UInt8[Tensor, "x y z"] | None,
    about: Mapping[str, object],
) -> Pair:
    """Return a pair, cut to the brain.

    Args:
        maps: Of the echoes.
        t1w: On their grid.
        affine: Of the grid.
        labels: Structures, where they are known.
        about: What is known of the subject; `name` is needed.
    """
    target = on_own_scale(t1w.float(), maps.mask, affine.double())
    box = box_of(maps.mask, MARGIN, LEAST)
    known = torch.zeros_like(maps.mask, dtype=torch.uint8) if labels is None else labels
    return Pair(
        channels=half(maps.channels()[:, *box]),
        target=half(target[box]),
        labels=(known * maps.mask)[box].contiguous(),
        voxel_mm=maps.voxel_mm,
        name=str(about["name"]),
        about={key: value for key, value in about.items() if key != "name"},
    )
