"""What an image of an exam shows according to its header: its contrast, or why it cannot be one of them.

Timings decide where they are decisive, names elsewhere. In seconds,

    spin echo, TI ≥ 0.3, TE ≥ 0.05        FLAIR        spin echo, no TI, TE ≥ 0.06          T2w
    spin echo, TI ≥ 0.3, TE < 0.05        T1w          spin echo, no TI, TE ≤ 0.035, TR ≤ 1.5   T1w
    gradient echo after a preparation     T1w          gradient echo, TE ≥ 0.012            T2* weighted

Words for vendors' sequences follow the headers that dcm2niix reads (`ImageType`, `ScanningSequence`,
`SequenceVariant`, `SequenceName`, `SeriesDescription`), and the DICOM standard, PS3.3 C.8.3.1.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from unweight.bids.series.part import Entry
from unweight.bids.series.readout import (
    MP2RAGE_WORDS,
    described,
    is_prepared_gradient_train,
    scanning_codes,
    words_of,
)
from unweight.bids.sidecar import Part, Sidecar
from unweight.core.errors import InputError

SHORT_TI = 0.3  # below it the inversion suppresses fat (STIR) [s]
LONG_TE, T2W_TE, SHORT_TE = 0.05, 0.06, 0.035  # [s]
LONGEST_T1W_TR = 1.5  # of a spin echo [s]
T2STAR_TE = 0.012  # of a gradient echo [s]
# Values of ImageType, and what they say.
TYPES = {
    "LOCALIZER": "a localizer",
    "PROJECTION IMAGE": "an intensity projection",
    "MIP": "an intensity projection",
    "MINIP": "an intensity projection",
    "MNIP": "an intensity projection",
    "MPR": "a reformatted image",
    "REFORMATTED": "a reformatted image",
    "CPR": "a reformatted image",
    "ADC": "diffusion weighted",
    "FA": "diffusion weighted",
    "TRACEW": "diffusion weighted",
    "TENSOR": "diffusion weighted",
    "DIFFUSION": "diffusion weighted",
    "SWI": "susceptibility weighted",
    "SUBTRACTION": "a subtraction",
    "SCREEN SAVE": "a screenshot",
    "CSA REPORT": "a report",
    "P": "a phase image",
    "PHASE": "a phase image",
    "REAL": "a real image",
    "IMAGINARY": "an imaginary image",
}
DERIVED = {"DERIVED": "computed from other images", "MEAN": "a mean of echoes", "RMS": "a mean of echoes"}
# Of descriptions in small letters, with spaces instead of punctuation.
WORDS = tuple(
    (what, re.compile(pattern))
    for what, pattern in (
        ("a localizer", r"locali[sz]er|\bscout|\bsurvey\b|\b3 ?pl(ane)?\b|\bloc\b|smartbrain|auto ?align"),
        (
            "a calibration scan",
            r"\bcalib|\basset\b|\bref ?scan\b|\bsense ref\b|\bprescan\b|\bb1 ?map|\bshim",
        ),
        ("an intensity projection", r"\bm(in|n)?ip\b"),
        ("a reformatted image", r"\breformat|\bcurved"),
        (
            "diffusion weighted",
            r"\bd[wt]i\b|\bdiff(usion)?\b|\badc\b|\btracew?\b|\btensor\b|\bb ?\d{3,4}\b",
        ),
        ("susceptibility weighted", r"\bswi\b|\bswip\b|\bswan\b|suscept|venobold|\bhemo|t2 ?\*|\bt2 ?star"),
        ("an angiogram", r"\btof\b|\bmra\b|\bmrv\b|angio|phase contrast"),
        ("a field map", r"field ?map|\bb0 ?map\b|\bfmap\b|\bfm2d"),
        (
            "functional or perfusion imaging",
            r"\bbold\b|\bfmri\b|\bp?c?asl\b|\bperf|\bdsc\b|\bdce\b|\brcbv\b",
        ),
        ("an MP2RAGE", "|".join(word.replace("-", " ") for word in MP2RAGE_WORDS)),
        ("double inversion recovery", r"\bdir\b|double inv"),
        ("short-TI inversion recovery", r"\bstir\b"),
        (
            "a balanced steady-state image",
            r"fiesta|\bciss\b|\btrufi\b|true ?fisp|\bbssfp\b|\bbffe\b|\bb ffe\b",
        ),
        ("of the spine", r"spine|lumbar|cervical|thoracic"),
    )
)
OTHER_BODY = re.compile(
    r"spine|^neck$|knee|abdomen|pelvis|shoulder|chest|liver|heart|ankle|wrist|\bhip\b|breast|prostate"
)
AGENT = re.compile(
    r"\b(post|after) ?(gd|gado\w*|km|contrast|con|injection)?\b|\bgd\b|\bgado|\bkm\b|\bc ?\+"
    r"|\+ ?(c|gd|km|contrast)\b"
)
NO_AGENT = re.compile(r"\b(pre|before|ohne|without|no|non) ?(gd|gado\w*|km|contrast|con)\b")
FLUID = re.compile(r"flair|dark ?fluid|\btirm\b|\bspcir|\bda fl\b|vista ?ir")
TIMES = (("RepetitionTime", "TR"), ("EchoTime", "TE"), ("InversionTime", "TI"))


@final
@dataclass(frozen=True, kw_only=True)
class ImageKind:
    """What one image is.

    Attributes:
        contrast: `T1w`, `T2w` or `FLAIR`; empty for another.
        excluded: Why it is none of them, as in `it is a localizer`; empty for one of them.
        derived: How it was computed from other images; empty for an original.
        agent: What in the header tells of a contrast agent; empty without one.
        sequence: Readout and timings, in words: `3D spin echo, TR 4 s, TE 0.466 s, TI 2.5 s`.
    """

    contrast: str
    excluded: str = ""
    derived: str = ""
    agent: str = ""
    sequence: str = ""


def kind_of(sidecar: Sidecar, named: str = "") -> ImageKind:
    """Return what an image is.

    Args:
        sidecar: Of the image, as dcm2niix names its fields; times in seconds.
        named: The contrast according to its name, which goes before the header; empty if it has none.
    """
    types = _types(sidecar)
    text = _plain(described(sidecar))
    derived = next((why for word, why in DERIVED.items() if word in types), "")
    excluded = "" if named else _excluded(sidecar, types, text)
    contrast = named
    if not excluded and not named:
        contrast, excluded = _contrast(sidecar, text)
    return ImageKind(
        contrast="" if excluded else contrast,
        excluded=excluded,
        derived=derived,
        agent=_agent(sidecar, text),
        sequence=sequence_of(sidecar),
    )


def kind_of_entry(entry: Entry, named: str = "") -> ImageKind:
    """Return what an image is; parts other than the magnitude are none of the three contrasts.

    Args:
        entry: The image with its sidecar.
        named: As in `kind_of`.
    """
    if entry.part not in (None, Part.MAGNITUDE):
        return ImageKind(contrast="", excluded=f"it is a {entry.part.name.lower()} image")
    return kind_of(entry.sidecar, named)


def sequence_of(sidecar: Sidecar) -> str:
    """Return the readout and the timings of an image, in words."""
    codes = scanning_codes(sidecar)
    if is_prepared_gradient_train(sidecar):
        readout = "MPRAGE"
    elif "EP" in codes:
        readout = "echo-planar"
    elif "GR" in codes and "SE" not in codes:
        readout = "gradient echo"
    elif codes & {"SE", "IR"}:
        readout = "spin echo"
    else:
        readout = ""
    dimension = words_of(sidecar.fields.get("MRAcquisitionType")).upper()
    first = " ".join(part for part in (dimension if dimension in ("2D", "3D") else "", readout) if part)
    times = [f"{short} {value:g} s" for name, short in TIMES if (value := _time(sidecar, name))]
    return ", ".join([*([first] if first else []), *times])


def _types(sidecar: Sidecar) -> tuple[str, ...]:
    return tuple(_listed(sidecar.fields.get("ImageType"))) + tuple(
        _listed(sidecar.fields.get("ImageTypeText"))
    )


def _listed(value: object) -> Iterator[str]:
    for word in value if isinstance(value, list) else ():
        yield from str(word).upper().split("\\")


def _excluded(sidecar: Sidecar, types: tuple[str, ...], text: str) -> str:
    """Return why an image is no weighted image of the head; empty if nothing speaks against it."""
    for word, what in TYPES.items():
        if word in types:
            return f"it is {what} (ImageType {word})"
    body = " ".join(words_of(sidecar.fields.get(name)) for name in ("BodyPartExamined", "BodyPart"))
    if OTHER_BODY.search(_plain(body)):
        return f"it is of another part of the body ({body.strip()})"
    for what, pattern in WORDS:
        match = pattern.search(text)
        if match is not None:
            return f"it is {what} (named {match[0].strip()})"
    if "EP" in scanning_codes(sidecar):
        return "it is an echo-planar image"
    derived = next((word for word in DERIVED if word in types), "")
    return f"it is {DERIVED[derived]} (ImageType {derived})" if derived else ""


def _contrast(sidecar: Sidecar, text: str) -> tuple[str, str]:
    """Return the contrast of an image, or why it has none of the three."""
    codes = scanning_codes(sidecar)
    if is_prepared_gradient_train(sidecar):
        return "T1w", ""
    te, tr, ti = (_time(sidecar, name) for name in ("EchoTime", "RepetitionTime", "InversionTime"))
    if "GR" in codes and "SE" not in codes:
        if te is not None and te >= T2STAR_TE:
            return "", f"it is a gradient echo of TE {te:g} s (T2* weighted)"
        return ("T1w", "") if ti or _says_t1(text) else ("", "it is a gradient echo of unknown contrast")
    if te is None:
        return _by_name(text)
    if ti:
        if ti < SHORT_TI:
            return "", f"it is short-TI inversion recovery (TI {ti:g} s)"
        return ("FLAIR" if te >= LONG_TE else "T1w"), ""
    if FLUID.search(text):
        return ("T1w" if te < LONG_TE and _says_t1(text) else "FLAIR"), ""
    return _by_spin_echo(te, tr, text)


def _by_spin_echo(te: float, tr: float | None, text: str) -> tuple[str, str]:
    """Return the contrast of a spin echo without inversion."""
    if te >= T2W_TE or (te > SHORT_TE and "t2" in text):
        return "T2w", ""
    if te <= SHORT_TE and (tr is None or tr <= LONGEST_T1W_TR):
        return ("T1w", "") if tr is not None or _says_t1(text) else _by_name(text)
    between = "" if tr is None else f", TR {tr:g} s"
    return "", f"it is proton-density weighted or between contrasts (TE {te:g} s{between})"


def _by_name(text: str) -> tuple[str, str]:
    if FLUID.search(text):
        return "FLAIR", ""
    if _says_t1(text):
        return "T1w", ""
    return ("T2w", "") if re.search(r"\bt2", text) else ("", "its header does not give the contrast")


def _says_t1(text: str) -> bool:
    return re.search(r"\b(3d ?)?t1", text) is not None or "t1w" in text


def _agent(sidecar: Sidecar, text: str) -> str:
    """Return what tells of a contrast agent; a scanner's field goes before a name."""
    for name in ("ContrastBolusIngredient", "ContrastBolusAgent"):
        value = words_of(sidecar.fields.get(name)).strip()
        if value and value.upper() not in ("NO", "NONE", "N"):
            return name
    if NO_AGENT.search(text):
        return ""
    match = AGENT.search(text)
    return "" if match is None else f"named {match[0].strip()}"


def _plain(text: str) -> str:
    """Return a text in small letters, with spaces instead of punctuation other than * and +."""
    return " ".join(re.sub(r"[^a-z0-9*+]+", " ", text.lower()).split())


def _time(sidecar: Sidecar, name: str) -> float | None:
    """Return a time; None where it is absent, zero or unreadable, which is an error when it is used."""
    try:
        return sidecar.number(name) or None
    except InputError:
        return None
