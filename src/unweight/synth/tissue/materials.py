"""The materials a simulated head is made of, and their published parameters.

The materials a simulated head is made of: one list, whose order is the index in every label map.

Published relaxation, proton density and susceptibility of the materials of a head at 3 T.

χ is volume susceptibility relative to tissue water; PD is relative to CSF. "Ours" marks an assumption
of this project, with a spread that is wide for that reason. Spreads between subjects are published
standard deviations where there are some (Wright, CSF, Qin, Pai, Water, Bazelaire), else ours. Studies
disagree on T2 at 3 T more than subjects do: white matter has 55 (Gelman, Radiology 210:759, 1999), 70
(Kumar) and 80 ms (Wansapura), grey matter 69, 130 and 110 ms. The spread of white matter, 18 %, is the
standard deviation of its three; grey matter takes the same, for its own would be 30 %.

    Wright     MAGMA 21:121, 2008: T1 at 1.5 and 3 T, MPRAGE.
    RRSG       Boudreau et al., Magn Reson Med 92:1115, 2024: mixed deep grey matter 1188 ± 133 ms.
    Wansapura  J Magn Reson Imaging 9:531, 1999: T2 of grey matter 110 ms at 3 T.
    Kumar      T2 at 3 T as the NeuroPoly susceptibility phantom lists it.
    Phantom    χ+ and χ− of the NeuroPoly susceptibility phantom (from Deistung 2013 and others).
    Marques    Magn Reson Med 86:526, 2021: χ of air, bone, fat and muscle in the QSM challenge.
    CSF        Subarachnoid space at 3 T in vivo, from the study of water exchange between CSF and
               brain: 4309 ± 147 and 1886 ± 68 ms.
    Qin        Magn Reson Med 65:1297 and 65:471, 2011: jugular vein, 1852 ± 104 and 62.4 ± 6.1 ms.
    Water      Front Neurol 10:1333, 2019: water content 69.1 ± 1.7 and 83.7 ± 1.2 %.
    Bazelaire  Radiology 230:652, 2004: fat 382 ± 13 and 68 ± 4 ms; muscle 898 ms; marrow of a
               vertebra 586 ms.
    Pai        Magn Reson Imaging 26:1215, 2008: T2 of muscle 34.1 ± 6.6 ms.
    MRpro      Ranges of its BrainWeb phantom at 3 T: muscle 1.2 to 1.5 s; marrow 0.4 to 0.6 s and
               0.06 to 0.1 s; PD of fat, muscle and marrow.
    Glioma     Ranges at 3 T (MP2RAGE, multi-echo) where methionine PET saw tumour: T1 1850 to 3200 ms,
               T2 115 to 225 ms.
    Bone       Water is about a fifth of cortical bone; bound water has T2 of 0.4 ms, pore water 1 ms
               and more. One effective value stands for both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

MATERIALS = (
    "background",
    "csf",
    "grey_matter",
    "white_matter",
    "caudate",
    "putamen",
    "pallidum",
    "thalamus",
    "red_nucleus",
    "substantia_nigra",
    "dentate",
    "vessel",
    "fat",
    "muscle",
    "skin",
    "skull",
    "marrow",
    "dura",
    "connective",
    "ms_lesion",
    "tumour",
    "oedema",
    "calcification",
    "air",
)
PROPERTIES = ("T1", "T2", "PD", "R2star", "chi_plus", "chi_minus")
INDEX = {name: index for index, name in enumerate(MATERIALS)}
SILENT = frozenset({"background", "air", "calcification"})
DEEP_GREY = ("caudate", "putamen", "pallidum", "thalamus", "red_nucleus", "substantia_nigra", "dentate")
BRAIN = ("csf", "grey_matter", "white_matter", *DEEP_GREY, "ms_lesion", "tumour", "oedema")


@final
@dataclass(frozen=True, kw_only=True)
class TissueFacts:
    """What is known of one material at 3 T.

    Attributes:
        t1: Mean [s], and spread between subjects relative to it.
        t2: Likewise [s].
        pd: Likewise, relative to CSF.
        chi: Paramagnetic and diamagnetic part [ppm], and the relative spread of each.
        source: Where T1, T2, PD and χ come from, in this order.
        t1_low: Mean T1 at 1.5 T where it was measured [s].
        decay: R2′ at 3 T where it does not follow from χ [1/s].
    """

    t1: tuple[float, float]
    t2: tuple[float, float]
    pd: tuple[float, float]
    chi: tuple[float, float, float] = (0.0, 0.0, 0.0)
    source: str
    t1_low: float | None = None
    decay: float | None = None


TISSUES: Mapping[str, TissueFacts] = MappingProxyType(
    {
        "background": TissueFacts(
            t1=(1.0, 0.0),
            t2=(0.1, 0.0),
            pd=(0.0, 0.0),
            chi=(9.2, 0.0, 0.0),
            decay=100.0,
            source="no signal; χ of air Marques",
        ),
        "csf": TissueFacts(
            t1=(4.309, 0.034),
            t2=(1.886, 0.036),
            pd=(1.0, 0.0),
            chi=(0.0275, -0.0085, 0.15),
            source="CSF; CSF; by definition; Phantom",
        ),
        "grey_matter": TissueFacts(
            t1=(1.607, 0.07),
            t2=(0.11, 0.18),
            pd=(0.837, 0.0143),
            chi=(0.0342, -0.0195, 0.12),
            t1_low=1.197,
            source="Wright; Wansapura; Water; Phantom",
        ),
        "white_matter": TissueFacts(
            t1=(0.838, 0.06),
            t2=(0.07, 0.18),
            pd=(0.691, 0.0246),
            chi=(0.0063, -0.0363, 0.12),
            t1_low=0.646,
            source="Wright; Kumar; Water; Phantom",
        ),
        "caudate": TissueFacts(
            t1=(1.395, 0.035),
            t2=(0.0884, 0.06),
            pd=(0.82, 0.03),
            chi=(0.0489, -0.0095, 0.1),
            t1_low=1.109,
            source="Wright; Kumar; ours; Phantom",
        ),
        "putamen": TissueFacts(
            t1=(1.332, 0.051),
            t2=(0.0776, 0.06),
            pd=(0.81, 0.03),
            chi=(0.0455, -0.0099, 0.1),
            t1_low=1.084,
            source="Wright; Kumar; ours; Phantom",
        ),
        "pallidum": TissueFacts(
            t1=(1.0, 0.12),
            t2=(0.0638, 0.06),
            pd=(0.76, 0.04),
            chi=(0.1381, -0.0137, 0.1),
            source="ours, between Wright's white matter and RRSG; Kumar; ours; Phantom",
        ),
        "thalamus": TissueFacts(
            t1=(1.15, 0.12),
            t2=(0.0871, 0.06),
            pd=(0.79, 0.04),
            chi=(0.0473, -0.0316, 0.1),
            source="ours, between Wright's white matter and RRSG; Kumar; ours; Phantom",
        ),
        "red_nucleus": TissueFacts(
            t1=(1.05, 0.12),
            t2=(0.0678, 0.06),
            pd=(0.76, 0.04),
            chi=(0.1061, -0.0095, 0.12),
            source="ours, between Wright's white matter and RRSG; Kumar; ours; Phantom",
        ),
        "substantia_nigra": TissueFacts(
            t1=(1.05, 0.12),
            t2=(0.0727, 0.06),
            pd=(0.76, 0.04),
            chi=(0.1145, -0.0124, 0.12),
            source="ours, between Wright's white matter and RRSG; Kumar; ours; Phantom",
        ),
        "dentate": TissueFacts(
            t1=(1.05, 0.12),
            t2=(0.1103, 0.08),
            pd=(0.76, 0.04),
            chi=(0.1584, -0.0163, 0.12),
            source="ours, between Wright's white matter and RRSG; Kumar; ours; Phantom",
        ),
        "vessel": TissueFacts(
            t1=(1.852, 0.056),
            t2=(0.0624, 0.098),
            pd=(0.8, 0.06),
            chi=(0.25, 0.0, 0.2),
            decay=20.0,
            source="Qin; Qin; ours; public phantoms 0.19 to 0.30",
        ),
        "fat": TissueFacts(
            t1=(0.382, 0.034),
            t2=(0.068, 0.059),
            pd=(0.95, 0.04),
            chi=(0.019, 0.0, 0.3),
            decay=20.0,
            source="Bazelaire; Bazelaire; MRpro; Marques",
        ),
        "muscle": TissueFacts(
            t1=(1.2, 0.2),
            t2=(0.034, 0.19),
            pd=(0.95, 0.05),
            chi=(0.0, 0.0, 0.0),
            decay=10.0,
            source="between Bazelaire and MRpro; Pai; MRpro; Marques",
        ),
        "skin": TissueFacts(
            t1=(1.0, 0.2),
            t2=(0.04, 0.3),
            pd=(0.8, 0.1),
            chi=(0.0, 0.0, 0.0),
            decay=30.0,
            source="ours",
        ),
        "skull": TissueFacts(
            t1=(0.2, 0.25),
            t2=(0.002, 0.15),
            pd=(0.2, 0.25),
            chi=(0.0, -2.1, 0.05),
            decay=300.0,
            source="ours; ours, see Bone; Bone; Marques",
        ),
        "marrow": TissueFacts(
            t1=(0.5, 0.15),
            t2=(0.075, 0.2),
            pd=(0.85, 0.08),
            chi=(0.019, 0.0, 0.3),
            decay=50.0,
            source="MRpro and Bazelaire; MRpro; MRpro; as fat",
        ),
        "dura": TissueFacts(
            t1=(1.2, 0.25),
            t2=(0.04, 0.3),
            pd=(0.7, 0.1),
            chi=(0.0, 0.0, 0.0),
            decay=30.0,
            source="ours",
        ),
        "connective": TissueFacts(
            t1=(1.0, 0.25),
            t2=(0.03, 0.3),
            pd=(0.65, 0.1),
            chi=(0.0, 0.0, 0.0),
            decay=30.0,
            source="ours",
        ),
        "ms_lesion": TissueFacts(
            t1=(1.3, 0.2),
            t2=(0.13, 0.25),
            pd=(0.82, 0.06),
            chi=(0.015, -0.015, 0.4),
            source="ours; longer T1 and T2, more water than white matter (Laule, ISMRM 2006, 3118)",
        ),
        "tumour": TissueFacts(
            t1=(2.1, 0.2),
            t2=(0.155, 0.2),
            pd=(0.88, 0.05),
            chi=(0.015, -0.01, 0.4),
            source="Glioma; Glioma; ours; ours",
        ),
        "oedema": TissueFacts(
            t1=(1.6, 0.2),
            t2=(0.17, 0.25),
            pd=(0.88, 0.04),
            chi=(0.01, -0.015, 0.3),
            source="ours",
        ),
        "calcification": TissueFacts(
            t1=(1.0, 0.0),
            t2=(0.1, 0.0),
            pd=(0.0, 0.0),
            chi=(0.0, -2.0, 0.3),
            decay=100.0,
            source="no signal; χ ours",
        ),
        "air": TissueFacts(
            t1=(1.0, 0.0),
            t2=(0.1, 0.0),
            pd=(0.0, 0.0),
            chi=(9.2, 0.0, 0.0),
            decay=100.0,
            source="no signal; χ Marques",
        ),
    }
)
