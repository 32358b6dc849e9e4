"""T1w, T2w, FLAIR and MPRAGE: a fixed protocol of each, and timings that take its place."""

import math
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import final

import torch
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec
from unweight.core.weighting import Readout, Weighting, completed
from unweight.synth.protocols.standard import Scan, mprage, routine_contrasts

RIGHT_ANGLE = 90.0  # degrees
DESC = "synth"


class Contrast(StrEnum):
    """What can be synthesised; a value is the name of the option and of the argument."""

    T1W = "t1w"
    T2W = "t2w"
    FLAIR = "flair"
    MPRAGE = "mprage"

    @property
    def display_name(self) -> str:
        """As people write it."""
        return {"t1w": "T1w", "t2w": "T2w", "flair": "FLAIR", "mprage": "MPRAGE"}[self]

    @property
    def spec(self) -> ParameterSpec:
        """What the image is."""
        return ParameterSpec(
            name=self.display_name,
            unit="arbitrary",
            lower=0.0,
            upper=math.inf,
            suffix="T1w" if self is Contrast.MPRAGE else self.display_name,
            description=f"{self.display_name} image computed from maps of T1, T2 and PD, not measured",
            desc=DESC,
        )

    def preset(self) -> Weighting:
        """Return the protocol of `synth.protocols.standard`, of a clinical examination at 3 T."""
        t1w, t2w, flair = routine_contrasts()
        scan: Scan = {"t1w": t1w, "t2w": t2w, "flair": flair, "mprage": mprage()}[self]
        readout = Readout.SPIN_ECHO if scan.train is None else Readout.TURBO_SPIN_ECHO
        return Weighting(
            readout=Readout.MPRAGE if self is Contrast.MPRAGE else readout,
            protocol=replace(scan.protocol, field_strength=None),
        )


@final
@dataclass(frozen=True, kw_only=True)
class ContrastTimes:
    """Timings that take the place of those of a preset; None for the preset.

    Attributes:
        repetition_time: TR, of an MPRAGE from inversion to inversion [s].
        echo_time: TE [s].
        inversion_time: TI, of an MPRAGE to the centre of k-space [s].
        flip_angle: Of the excitation [degrees].
        readout_time: From excitation to the last echo of a train of refocusing pulses [s].
    """

    repetition_time: float | None = None
    echo_time: float | None = None
    inversion_time: float | None = None
    flip_angle: float | None = None
    readout_time: float | None = None

    def given(self) -> dict[str, float]:
        """Return the timings that are given."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def weighting(self, contrast: Contrast) -> tuple[Weighting, tuple[str, ...]]:
        """Return how an image is weighted, complete, and a sentence for each thing assumed.

        Args:
            contrast: Whose preset holds for what is not given.

        Raises:
            UsageError: A timing is missing that cannot come from the preset, or has no place in the signal.
            ProtocolError: Timings are impossible, or do not fit each other.
        """
        preset, given = contrast.preset(), self.given()
        self._check(contrast, preset)
        values: dict[str, Tensor | None] = {
            name: torch.tensor(
                [math.radians(value) if name == "flip_angle" else value], dtype=torch.float64
            )
            for name, value in given.items()
        }
        if contrast is Contrast.MPRAGE:
            if {"repetition_time", "inversion_time"} & set(given):
                values |= {"train_length": None, "centre_index": None}  # as many as fit
            if 2 * given.get("echo_time", 0.0) > (preset.time("echo_spacing") or math.inf):
                values |= {"echo_spacing": None, "train_length": None, "centre_index": None}
        elif "echo_time" in given:
            values.setdefault("readout_time", None)
        readout = Readout.TURBO_SPIN_ECHO if "readout_time" in given else preset.readout
        protocol = replace(preset.protocol, **values)  # type: ignore[arg-type]  # by name, from a dictionary
        return completed(Weighting(readout=readout, protocol=protocol))

    def _check(self, contrast: Contrast, preset: Weighting) -> None:
        """Refuse timings that the signal of this contrast cannot do without, or has no place for."""
        if preset.inverts and self.repetition_time is not None and self.inversion_time is None:
            usual = preset.time("repetition_time")
            raise UsageError(
                f"{contrast.display_name} with TR {self.repetition_time:g} s needs its inversion time, for "
                f"that of the preset is for TR {usual:g} s",
                remedy="Give the inversion time (--ti, in seconds) as well, or leave both to the preset.",
            )
        if contrast is Contrast.MPRAGE and self.readout_time is not None:
            raise UsageError(
                "an MPRAGE has no refocusing train, so no readout time", remedy="Omit --readout-time."
            )
        if self.flip_angle is None:
            return
        if contrast is not Contrast.MPRAGE and (preset.inverts or self.inversion_time is not None):
            raise UsageError(
                f"the signal of {contrast.display_name} after an inversion is that of a 90° excitation",
                remedy="Omit --flip.",
            )
        if not 0 < self.flip_angle <= RIGHT_ANGLE:
            raise UsageError(
                f"a flip angle of {self.flip_angle:g} degrees is not an excitation",
                remedy="Give 0 to 90 degrees; scanners often write the refocusing angle of a spin echo.",
            )
