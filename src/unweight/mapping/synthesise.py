"""Weighted images of maps in memory or in a folder: what a notebook calls."""

from collections.abc import Mapping
from pathlib import Path

from unweight.core.errors import UsageError
from unweight.mapping.calls import AnyPath, bare_label
from unweight.mapping.contrast import ContrastOptions
from unweight.mapping.map_input import read_in_memory
from unweight.mapping.series import MappedSeries, map_found, map_read
from unweight.synth.protocols.contrast import Contrast

IN_MEMORY = Path("maps")  # stands where options name a folder
ContrastSettings = Mapping[str, float] | bool | None
SHORT_NAMES = {
    "tr": "repetition_time",
    "te": "echo_time",
    "ti": "inversion_time",
    "flip": "flip_angle",
    "readout_time": "readout_time",
}


def synthesise(
    maps: MappedSeries | AnyPath,
    *,
    t1w: ContrastSettings = None,
    t2w: ContrastSettings = None,
    flair: ContrastSettings = None,
    mprage: ContrastSettings = None,
    acq: str | None = None,
    subject: str | None = None,
    device: str = "auto",
) -> dict[str, MappedSeries]:
    """Compute weighted images from maps of T1, T2 and PD: `unweight contrast`. They are not measured.

        S = signal equation of the contrast (T1, T2, PD; TR, TE, TI, α)

    The standard deviation follows from those of the maps to first order, their errors treated as
    independent (`signals.weighted.signal_with_deviation`).

    Args:
        maps: What `map_weighted` returned, or a folder that `unweight maps` wrote.
        t1w: True for the preset, or times that take its place: `tr`, `te`, `ti`, `readout_time` [s], `flip`
            [degrees].
        t2w: Likewise.
        flair: Likewise; a `tr` needs its `ti`.
        mprage: Likewise; `tr` runs from inversion to inversion.
        acq: Label of `acq` in the names of the images.
        subject: Of a folder with several, which.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        The images by the name of the argument, shaped like the maps; in the unit of PD.

    Raises:
        UnweightError: Maps, contrast or times cannot be used; the message says why and what to do.
    """
    settings = dict(zip(Contrast, (t1w, t2w, flair, mprage), strict=True))
    chosen = {name: times for name, times in settings.items() if times is not None and times is not False}
    if not chosen:
        raise UsageError("no contrast is chosen", remedy="Give one or several of t1w, t2w, flair, mprage.")
    if isinstance(maps, MappedSeries) and subject is not None:
        raise UsageError("maps in memory already have a subject", remedy="Omit subject.")
    images = {}
    for contrast, times in chosen.items():
        given = _times_of(contrast, times)
        options = ContrastOptions(
            inputs=(IN_MEMORY if isinstance(maps, MappedSeries) else Path(maps),),
            t1w=contrast is Contrast.T1W,
            t2w=contrast is Contrast.T2W,
            flair=contrast is Contrast.FLAIR,
            mprage=contrast is Contrast.MPRAGE,
            repetition_time=given.get("repetition_time"),
            echo_time=given.get("echo_time"),
            inversion_time=given.get("inversion_time"),
            flip_angle=given.get("flip_angle"),
            readout_time=given.get("readout_time"),
            acq=acq,
            subjects=None if subject is None else (bare_label(subject),),
            device=device,
        )
        images[contrast.value] = _image(options, contrast, maps)
    return images


def _image(options: ContrastOptions, contrast: Contrast, maps: MappedSeries | AnyPath) -> MappedSeries:
    mapper = options.mapper()
    if isinstance(maps, MappedSeries):
        return map_read(mapper, f"{maps.label} {contrast.display_name}", read_in_memory(contrast, maps))
    sets = options.find()
    if len(sets) > 1:
        raise UsageError(
            f"there are {len(sets)} sets of maps", remedy="Choose one with the argument subject."
        )
    return map_found(mapper, *sets[0])


def _times_of(contrast: Contrast, times: ContrastSettings) -> dict[str, tuple[float, ...]]:
    """Return times by the names of the options.

    Raises:
        UsageError: A name is unknown.
    """
    if not isinstance(times, Mapping):
        return {}
    unknown = sorted(set(times) - set(SHORT_NAMES))
    if unknown:
        raise UsageError(
            f"{contrast.value} has no {', '.join(unknown)}", remedy=f"There are {', '.join(SHORT_NAMES)}."
        )
    return {SHORT_NAMES[name]: (float(value),) for name, value in times.items()}
