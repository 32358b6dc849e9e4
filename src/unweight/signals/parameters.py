"""The parameters that signal models share, and the maps that may be known beside them.

Every model names its own from this list, so that a T1 is the same T1 everywhere: one name, one
unit, one believed range, one way to the real line.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.parameter import ParameterSpec, Scale

T1 = ParameterSpec(
    name="T1",
    unit="s",
    lower=0.005,
    upper=10.0,
    suffix="T1map",
    scale=Scale.LOG,
    description="Longitudinal relaxation time",
)
T2 = ParameterSpec(
    name="T2",
    unit="s",
    lower=0.001,
    upper=5.0,
    suffix="T2map",
    scale=Scale.LOG,
    description="Transverse relaxation time of refocused magnetisation",
)
R2STAR = ParameterSpec(
    name="R2star",
    unit="1/s",
    lower=0.1,
    upper=2000.0,
    suffix="R2starmap",
    scale=Scale.LOG,
    description="Transverse relaxation rate of magnetisation that is not refocused",
)
T2STAR = ParameterSpec(
    name="T2star",
    unit="s",
    lower=0.0005,
    upper=10.0,
    suffix="T2starmap",
    scale=Scale.LOG,
    description="Transverse relaxation time of magnetisation that is not refocused",
)
CHI = ParameterSpec(
    name="Chi",
    unit="ppm",
    lower=-10.0,
    upper=20.0,
    suffix="Chimap",
    description="Magnetic volume susceptibility, relative to the named reference",
)
PD = ParameterSpec(
    name="PD",
    unit="arbitrary",
    lower=0.0,
    upper=float("inf"),
    suffix="PDmap",
    description="Proton density times receive sensitivity and whatever decay the model leaves out, "
    "in the unit of the input",
)
M0 = ParameterSpec(
    name="M0",
    unit="arbitrary",
    lower=0.0,
    upper=float("inf"),
    suffix="M0map",
    description="Equilibrium magnetisation times receive sensitivity and the decay until the echo, "
    "in the unit of the input",
)
S0 = ParameterSpec(
    name="S0",
    unit="arbitrary",
    lower=0.0,
    upper=float("inf"),
    suffix="S0map",
    description="Signal at echo time zero, in the unit of the input",
)
B = ParameterSpec(
    name="B",
    unit="1",
    lower=0.5,
    upper=3.0,
    suffix="IEmap",
    description="Inversion efficiency 1 - cos(theta); 2 is a perfect inversion",
)
B1 = ParameterSpec(
    name="B1",
    unit="1",
    lower=0.1,
    upper=3.0,
    suffix="TB1map",
    scale=Scale.LOG,
    description="Flip angle reached, as a ratio to the nominal one; 1 is nominal",
)
FREQUENCY = ParameterSpec(
    name="frequency",
    unit="Hz",
    lower=-3000.0,
    upper=3000.0,
    suffix="fieldmap",
    description="Off-resonance; the phase grows with echo time where it is positive",
)
PHASE = ParameterSpec(
    name="phase",
    unit="rad",
    lower=-4.0,
    upper=3.0,
    suffix="phasemap",
    description="Phase at echo time zero",
)


def known_or(
    nominal: float,
    spec: ParameterSpec,
    known: Mapping[str, Tensor] | None,
    theta: Float[Tensor, "*voxels parameters"],
) -> Float[Tensor, "*voxels 1"]:
    """Return the map known under this name, on the device and in the dtype of theta, or its nominal value.

    Args:
        nominal: Taken in every voxel where no map is known [unit of spec].
        spec: What is looked for.
        known: Maps that are given, shaped like the voxels.
        theta: Parameters of the model, for shape, device and dtype.
    """
    if known is None or spec.name not in known:
        return torch.full_like(theta[..., :1], nominal)
    return known[spec.name].to(theta).unsqueeze(-1)
