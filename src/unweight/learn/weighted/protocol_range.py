"""Which timings a network of weighted images was trained for; beyond them an examination is refused.

The ends are those of many draws from the protocols of the training, for each contrast and readout. A turbo
spin echo with a train of low angles counts as a readout of its own if the training contained such trains.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from unweight.core.errors import InputError, ProtocolError
from unweight.core.examination import WeightedImageSet
from unweight.core.seeding import seeded_generator
from unweight.core.weighting import Weighting
from unweight.learn.weighted.slabs import draw_training_scans
from unweight.synth.protocols.prior import ContrastPrior, fluid_null
from unweight.synth.simulate_weighted import weighting_of

Ends = tuple[float, float]
CHECKED = {
    "repetition_time": "TR",
    "echo_time": "TE",
    "inversion_time": "TI",
}
LOW_ANGLES = "variable-angle-turbo-spin-echo"
NOMINAL = "nominal_echo_time"
FIELD = "field_strength"
N_DRAWS = 3000
TOLERANCE = 0.05
FIELD_TOLERANCE = 0.15
NULL_TOLERANCE = 1.25  # of TI over the one that nulls fluid


@final
@dataclass(frozen=True)
class WeightingRange:
    """The smallest and the largest of each timing.

    Attributes:
        ends: By contrast, readout and timing, `T1w mprage repetition_time` [s]; and `field_strength` [T].
    """

    ends: Mapping[str, Ends]

    def check(self, examination: WeightedImageSet, name: str) -> None:
        """Return if all images lie in the range.

        Raises:
            ProtocolError: One does not; says which, and what was trained.
        """
        self.check_field(examination.field_strength, name)
        for image in examination.images:
            self.check_image(image.name, image.weighting, name)

    def check_field(self, field: float, name: str) -> None:
        """Return if a field strength lies in the range.

        Args:
            field: [T]
            name: Of what was trained, for messages.

        Raises:
            ProtocolError: It does not.
        """
        low, high = self._known(FIELD)
        if not low - FIELD_TOLERANCE <= field <= high + FIELD_TOLERANCE:
            raise ProtocolError(
                f"{name} was trained for {low:g} to {high:g} T, not for {field:g} T",
                remedy="Train it for this field, or use a method that supports it.",
            )

    def knows_design(self, contrast: str, weighting: Weighting) -> bool:
        """Return whether the training contained the unknown design of the train of an image.

        True too if the image has no train of low angles.
        """
        return weighting.time(NOMINAL) is None or self.has_low_angles(contrast, weighting)

    def has_low_angles(self, contrast: str, weighting: Weighting) -> bool:
        """Return whether an image has a train of low angles, and the training contained such trains."""
        return self._kind(contrast, weighting).endswith(LOW_ANGLES)

    def to_plain(self) -> dict[str, Ends]:
        """Return it as the card keeps it."""
        return dict(self.ends)

    def check_image(self, contrast: str, weighting: Weighting, name: str) -> None:
        """Return if the timings of an image lie in the range.

        Args:
            contrast: Of the image.
            weighting: Its readout and timings.
            name: Of what was trained, for messages.

        Raises:
            ProtocolError: One does not.
        """
        kind = self._kind(contrast, weighting)
        if f"{kind} echo_time" not in self.ends:
            known = sorted({" ".join(key.split()[:2]) for key in self.ends if key != FIELD})
            raise ProtocolError(
                f"{name} was not trained for a {kind}", remedy=f"Supported: {', '.join(known)}."
            )
        for timing, short in CHECKED.items():
            result, key = weighting.time(timing), f"{kind} {timing}"
            if (result is None) is (key in self.ends):
                text = "has no" if result is None else "should have no"
                raise ProtocolError(
                    f"the {contrast} {text} {timing}",
                    remedy=f"Check {short}, and which image has which contrast.",
                )
            if result is None:
                continue
            low, high = self._known(key)
            if not low * (1 - TOLERANCE) <= result <= high * (1 + TOLERANCE):
                raise ProtocolError(
                    f"{short} of the {contrast} ({kind.split()[1]}) is {result:g} s; the weights "
                    f"of {name} support {low:.3g} to {high:.3g} s",
                    remedy="Check the value (in seconds), or train weights for it with "
                    "`unweight train maps`.",
                )

        if contrast == "FLAIR" and kind.endswith(LOW_ANGLES):
            _check_null(weighting, name)

    def ends_of(self, contrast: str, weighting: Weighting, timing: str) -> Ends:
        """Return the smallest and the largest of a timing in the training [s].

        Raises:
            InputError: The card does not contain them.
        """
        return self._known(f"{self._kind(contrast, weighting)} {timing}")

    def _kind(self, contrast: str, weighting: Weighting) -> str:
        """Return contrast and readout as the card names them."""
        special = kind_of(contrast, weighting)
        return special if f"{special} echo_time" in self.ends else f"{contrast} {weighting.readout}"

    def _known(self, key: str) -> Ends:
        if key not in self.ends:
            raise InputError(f"the card of the weights does not contain the range of {key}")
        return self.ends[key]


def kind_of(contrast: str, weighting: Weighting) -> str:
    """Return contrast and readout; a train of low angles is a readout of its own."""
    return f"{contrast} {weighting.readout if weighting.time(NOMINAL) is None else LOW_ANGLES}"


def _check_null(weighting: Weighting, name: str) -> None:
    """Refuse a FLAIR whose TI is far from the one that nulls fluid: its preparation is another."""
    values = (weighting.time(timing) for timing in ("inversion_time", "repetition_time", "readout_time"))
    inversion, cycle, end = (value or 0.0 for value in values)
    null = fluid_null(cycle, end)
    low, high = ContrastPrior().fluid_null
    if not low / NULL_TOLERANCE * null <= inversion <= high * NULL_TOLERANCE * null:
        raise ProtocolError(
            f"TI of the FLAIR is {inversion:g} s, but at TR {cycle:g} s fluid is nulled at {null:.2g} s; a "
            f"FLAIR with a T2 preparation or several inversions is not modelled by {name}",
            remedy="Check TI and TR (in seconds), or omit the FLAIR.",
        )


def trained_range(prior: ContrastPrior | None = None) -> WeightingRange:
    """Return the range of the protocols of the training."""
    generator = seeded_generator(0, "weighting range")
    ends: dict[str, Ends] = {}

    def widen(key: str, value: float) -> None:
        low, high = ends.get(key, (value, value))
        ends[key] = (min(low, value), max(high, value))

    for _ in range(N_DRAWS):
        for scan in draw_training_scans(generator, prior):
            weighting = weighting_of(scan)
            for timing in CHECKED:
                time = weighting.time(timing)
                if time is not None:
                    widen(f"{kind_of(scan.name, weighting)} {timing}", time)
            if weighting.protocol.field_strength is not None:
                widen(FIELD, weighting.protocol.field_strength)
    return WeightingRange({key: (round(low, 6), round(high, 6)) for key, (low, high) in ends.items()})
