"""BibTeX of what to cite: the program, the methods that a set of maps names, colour maps and file format.

The sidecar of a map names the references of its method in `EstimationReference`, separated by semicolons.
Each is looked up here by its journal and page, or its arXiv number; one that is not known becomes an entry
with a note.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple, final


@final
class BibEntry(NamedTuple):
    """A reference.

    Attributes:
        mark: What the text of the reference contains.
        kind: `article`, `book` or `misc`.
        key: Its name in BibTeX.
        fields: Its fields, in order.
    """

    mark: str
    kind: str
    key: str
    fields: tuple[tuple[str, str], ...]


def _article(mark: str, key: str, author: str, title: str, **fields: str) -> BibEntry:
    return BibEntry(mark, "article", key, (("author", author), ("title", title), *fields.items()))


def _preprint(number: str, key: str, title: str, year: str, author: str = "") -> BibEntry:
    named = (("author", author),) if author else ()
    link = ("eprint", number), ("archiveprefix", "arXiv")
    return BibEntry(number, "misc", key, (*named, ("title", title), ("year", year), *link))


MRM, MRI = "Magnetic Resonance in Medicine", "Magnetic Resonance Imaging"
ENTRIES = (
    _article(
        "NeuroImage 260:119474",
        "hoopes2022",
        "Hoopes, Andrew and Mora, Jocelyn S. and Dalca, Adrian V. and Fischl, Bruce and Hoffmann, Malte",
        "SynthStrip: skull-stripping for any brain image",
        journal="NeuroImage",
        volume="260",
        pages="119474",
        year="2022",
    ),
    _article(
        "Magn Reson Med 64:1057",
        "barral2010",
        'Barral, Jo{\\"e}lle K. and others',
        "A robust methodology for in vivo T1 mapping",
        journal=MRM,
        volume="64",
        pages="1057--1067",
        year="2010",
    ),
    _article(
        "10:413",
        "golub1973",
        "Golub, Gene H. and Pereyra, Victor",
        "The differentiation of pseudo-inverses and nonlinear least squares problems whose variables "
        "separate",
        journal="SIAM Journal on Numerical Analysis",
        volume="10",
        pages="413--432",
        year="1973",
    ),
    BibEntry(
        "Algorithmic Learning in a Random World",
        "book",
        "vovk2005",
        (
            ("author", "Vovk, Vladimir and Gammerman, Alexander and Shafer, Glenn"),
            ("title", "Algorithmic Learning in a Random World"),
            ("publisher", "Springer"),
            ("year", "2005"),
        ),
    ),
    _article(
        "74:102220",
        "sabidussi2021",
        "Sabidussi, E. R. and others",
        "Recurrent inference machines as inverse problem solvers for MR relaxometry",
        journal="Medical Image Analysis",
        volume="74",
        pages="102220",
        year="2021",
    ),
    _article(
        "Magn Reson Med 64:1005",
        "lebel2010",
        "Lebel, R. Marc and Wilman, Alan H.",
        "Transverse relaxometry with stimulated echo compensation",
        journal=MRM,
        volume="64",
        pages="1005--1014",
        year="2010",
    ),
    _article(
        "Magn Reson Med 73:843",
        "pei2015",
        "Pei, Mengchao and others",
        "Algorithm for fast monoexponential fitting based on Auto-Regression on Linear Operations (ARLO) "
        "of data",
        journal=MRM,
        volume="73",
        pages="843--850",
        year="2015",
    ),
    _article(
        "Magn Reson Med 91:1834",
        "qsmconsensus2024",
        "{QSM Consensus Organization Committee}",
        "Recommended implementation of quantitative susceptibility mapping for clinical research in the "
        "brain: A consensus of the ISMRM electro-magnetic tissue properties study group",
        journal=MRM,
        volume="91",
        pages="1834--1862",
        year="2024",
    ),
    _article(
        "Magn Reson Imaging 5:201",
        "fram1987",
        "Fram, Evan K. and others",
        "Rapid calculation of T1 using variable flip angle gradient refocused imaging",
        journal=MRI,
        volume="5",
        pages="201--208",
        year="1987",
    ),
    _article(
        "Magn Reson Med 61:125",
        "preibisch2009",
        "Preibisch, Christine and Deichmann, Ralf",
        "Influence of RF spoiling on the stability and accuracy of T1 mapping based on spoiled FLASH with "
        "varying flip angles",
        journal=MRM,
        volume="61",
        pages="125--135",
        year="2009",
    ),
    _preprint(
        "2407.16477",
        "wang2024",
        "qMRI Diffusor: Quantitative T1 Mapping of the Brain using a Denoising Diffusion Probabilistic "
        "Model",
        "2024",
        "Wang, Shishuai and others",
    ),
    _preprint(
        "2508.08123",
        "embedding2025",
        "A Physics-Driven Neural Network with Parameter Embedding for Generating Quantitative MR Maps from "
        "Weighted Images",
        "2025",
    ),
    _preprint(
        "2512.01135",
        "fang2025",
        "Diffusion-Based Synthesis of 3D T1w MPRAGE Images from Multi-Echo GRE with Multi-Parametric MRI "
        "Integration",
        "2025",
        "Fang, Sizhe and Qiu, Deqiang",
    ),
)
ALWAYS = (
    _article(
        "",
        "fuderer2025",
        "Fuderer, Miha and others",
        "Color-map recommendation for MR relaxometry maps",
        journal=MRM,
        year="2025",
        doi="10.1002/mrm.30290",
    ),
    _article(
        "",
        "crameri2020",
        "Crameri, Fabio and Shephard, Grace E. and Heron, Philip J.",
        "The misuse of colour in science communication",
        journal="Nature Communications",
        volume="11",
        pages="5444",
        year="2020",
        doi="10.1038/s41467-020-19160-7",
    ),
    _article(
        "",
        "karakuzu2022",
        "Karakuzu, Agah and others",
        "qMRI-BIDS: an extension to the brain imaging data structure for quantitative magnetic resonance "
        "imaging data",
        journal="Scientific Data",
        volume="9",
        pages="517",
        year="2022",
        doi="10.1038/s41597-022-01571-4",
    ),
)
SPECIAL = re.compile(r"[\\{}$&#%_^~]|[^\x20-\x7e\u00a0-\uffff]")


def bibliography(versions: Iterable[str], references: Iterable[str]) -> str:
    """Return BibTeX of the program, of the references of methods, and of colour maps and file format.

    Args:
        versions: Of the program that wrote the maps.
        references: Texts of `EstimationReference`.
    """
    entries = [_program(version) for version in dict.fromkeys(versions)]
    parts = [part.strip() for text in references for part in text.split(";") if part.strip()]
    entries += [_entry(part, place) for place, part in enumerate(dict.fromkeys(parts), start=1)]
    return "\n".join(_bibtex(entry) for entry in dict.fromkeys((*entries, *ALWAYS)))


def _program(version: str) -> BibEntry:
    fields = (
        ("author", "{The unweight developers}"),
        ("title", "unweight: quantitative maps of the brain from weighted MR images"),
        ("note", f"Software, version {_plain(version)}"),
    )
    return BibEntry("", "misc", f"unweight-{re.sub(r'[^0-9a-z.]', '', version)}", fields)


def _entry(text: str, place: int) -> BibEntry:
    known = next((entry for entry in ENTRIES if entry.mark in text), None)
    return known or BibEntry("", "misc", f"reference{place}", (("note", _plain(text)),))


def _plain(text: str) -> str:
    """Return text without what BibTeX or TeX would read as a command."""
    return SPECIAL.sub(" ", text)


def _bibtex(entry: BibEntry) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in entry.fields]
    return "\n".join((f"@{entry.kind}{{{entry.key},", *lines, "}\n"))
