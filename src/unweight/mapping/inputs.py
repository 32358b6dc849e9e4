"""How a caller names the images of one series: a tree, a folder, files, or magnitude and phase apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from unweight.bids.names import check_label
from unweight.bids.read import FoundSeries, Series, find_inputs, read_complex, read_inputs
from unweight.bids.series.overrides import ProtocolOverrides
from unweight.bids.series.phase import AS_RECOGNISED, PhaseScaling
from unweight.core.acquisition import SignalKind
from unweight.core.errors import MissingValue, MissingValuesError, NoTimingError, UsageError
from unweight.mapping.brain import is_auto, with_brain_mask

VALUES = {
    name: MissingValue(field=field, of="these images", option=option)
    for name, field, option in (
        ("inversion_time", "InversionTime", "--ti S [S ...]"),
        ("repetition_time", "RepetitionTime", "--tr S"),
        ("echo_time", "EchoTime", "--te S [S ...]"),
        ("flip_angle", "FlipAngle", "--flip DEG [DEG ...]"),
        ("field_strength", "MagneticFieldStrength", "--field T"),
    )
}
LABEL = "series"  # of images that are named one by one


@final
@dataclass(frozen=True, kw_only=True)
class NamedFiles:
    """Files of one series whose parts the caller names.

    Attributes:
        magnitude: Magnitude images.
        phase: Phase images in the same order; none for magnitude alone.
        given: What the caller says about them.
        suffix: Of the series they make.
    """

    magnitude: tuple[Path, ...]
    phase: tuple[Path, ...]
    given: ProtocolOverrides
    suffix: str

    def read(self) -> Series:
        """Read them.

        Raises:
            InputError: A file is unusable, or they do not make one series.
        """
        if self.phase:
            return read_complex(self.magnitude, self.phase, self.given)
        magnitudes = replace(self.given, kind=SignalKind.MAGNITUDE)
        return read_inputs(self.magnitude, magnitudes, suffixes=(self.suffix,))[0]


FoundImages = FoundSeries | NamedFiles


@final
@dataclass(frozen=True, kw_only=True)
class SeriesInput:
    """The images of a call, and what the caller says about them.

    Attributes:
        inputs: A BIDS tree, a folder of DICOM or NIfTI, or NIfTI files.
        magnitude_images: Magnitude images, named one by one.
        phase_images: Phase images in the same order.
        inversion_time: One per volume [s].
        repetition_time: One for all, or one per volume [s].
        echo_time: One for all, or one per volume [s].
        readout_time: From excitation to the last refocused echo [s].
        flip_angle: Of the excitation; one for all, or one per volume [degrees].
        mask: A NIfTI file on the same grid, not 0 where to work; or `auto`, for the brain.
        series: Numbers of the series of a folder of DICOM.
        subjects: Of a BIDS tree, without `sub-`; None for all.
        subject: What the subject of images outside a BIDS tree is called; None for what their names tell.
        field_strength: [T]; None for what sidecars tell.
        phase_range: Lowest and highest number of a full turn of the phase; None to recognise them.
        phase_full_range: Whether those of the images are a full turn.
        invert_phase: Whether phase falls where the field is higher.
    """

    inputs: tuple[Path, ...] = ()
    magnitude_images: tuple[Path, ...] | None = None
    phase_images: tuple[Path, ...] | None = None
    inversion_time: tuple[float, ...] | None = None
    repetition_time: tuple[float, ...] | None = None
    echo_time: tuple[float, ...] | None = None
    readout_time: tuple[float, ...] | None = None
    flip_angle: tuple[float, ...] | None = None
    mask: Path | None = None
    series: tuple[int, ...] | None = None
    subjects: tuple[str, ...] | None = None
    subject: str | None = None
    field_strength: float | None = None
    phase_range: tuple[float, float] | None = None
    phase_full_range: bool = False
    invert_phase: bool = False

    def __post_init__(self) -> None:
        named = bool(self.magnitude_images or self.phase_images)
        if bool(self.inputs) == named or named != bool(self.magnitude_images):
            raise UsageError(
                "give either a BIDS dataset, a folder or files, or --mag (with --phase)",
                remedy="Give the images once.",
            )
        if self.subject is not None:
            check_label(self.subject, "a subject")
        if self.subject is not None and self.subjects is not None:
            raise UsageError(
                "--subject and --subjects cannot be combined",
                remedy="--subject names the subject of files, --subjects selects subjects of a BIDS "
                "dataset.",
            )

    def given(self, kind: SignalKind | None = None) -> ProtocolOverrides:
        """Return what the caller says about the files.

        Args:
            kind: What the numbers of the images are; None to take what the files say.
        """
        return ProtocolOverrides(
            inversion_time=self.inversion_time,
            repetition_time=self.repetition_time,
            echo_time=self.echo_time,
            readout_time=self.readout_time,
            flip_angle=self.flip_angle,
            kind=kind,
            mask=None if is_auto(self.mask) else self.mask,
            phase=self._phase(),
            field_strength=self.field_strength,
            series=self.series,
        )

    def find(
        self, suffixes: Sequence[str], kind: SignalKind | None = None
    ) -> list[tuple[str, FoundImages]]:
        """Return the series by their labels, without reading them.

        Args:
            suffixes: Of series in a BIDS tree.
            kind: As in `given`.

        Raises:
            InputError: There is nothing there that can be read.
        """
        given = self.given(kind)
        if self.magnitude_images:
            named = NamedFiles(
                magnitude=self.magnitude_images,
                phase=self.phase_images or (),
                given=given,
                suffix=suffixes[0],
            )
            return [(LABEL, named)]
        result = find_inputs(self.inputs, given, suffixes=suffixes, subjects=self.subjects)
        if self.subject is None:
            return [(series.label, series) for series in result]
        if any(not isinstance(series.origin, tuple | Path) for series in result):
            raise _names_no_subject(self.inputs[0])
        renamed = (replace(series, entities=self._renamed(series.entities)) for series in result)
        return [(series.label, series) for series in renamed]

    def read(self, source: FoundImages, needs: Sequence[str] = ()) -> Series:
        """Read a series, with the name the caller gives its subject.

        Args:
            source: The series.
            needs: Timings, and the field strength, that the method cannot do without.

        Raises:
            InputError: It is unusable.
            MissingValuesError: Several values are given by nothing.
        """
        try:
            series = source.read()
        except NoTimingError as error:
            missing = [name for name in needs if getattr(self, name) is None]
            raise MissingValuesError([VALUES[name] for name in missing], path=error.path) from error
        protocol = series.acquisition.protocol
        missing = [name for name in needs if getattr(protocol, name) is None]
        if len(missing) > 1:
            path = series.files[0] if series.files else None
            raise MissingValuesError([VALUES[name] for name in missing], path=path)
        if self.subject is None:
            return series
        if series.root is not None:
            raise _names_no_subject(series.files[0])
        return replace(series, entities=self._renamed(series.entities))

    def read_masked(self, source: FoundImages, needs: Sequence[str] = ()) -> Series:
        """Read a series, with the brain as its mask where `auto` was given.

        Raises:
            InputError: It is unusable, or no brain is in it.
            MissingValuesError: Several values are given by nothing.
        """
        series = self.read(source, needs)
        return with_brain_mask(series) if is_auto(self.mask) else series

    def _renamed(self, entities: Mapping[str, str]) -> Mapping[str, str]:
        return {**entities, "sub": self.subject or entities["sub"]}

    def _phase(self) -> PhaseScaling:
        if self.phase_range is None and not self.phase_full_range and not self.invert_phase:
            return AS_RECOGNISED
        return PhaseScaling(
            turn=self.phase_range, whole_range=self.phase_full_range, inverted=self.invert_phase
        )


def _names_no_subject(path: Path) -> UsageError:
    return UsageError(
        f"{path} is in a BIDS dataset, where the file names give the subject",
        remedy="Omit --subject; --subjects selects subjects of a dataset.",
    )
