"""What others measured: T1 of the fourteen spheres as the paper on qMRI Diffusor gives it.

S. Wang et al., arXiv 2407.16477, Table 1: plate 5 of the system phantom, version 2, at 3 T and 20 °C, seven
inversions, TR 10 s; mean and standard deviation in a region of each sphere. Theirs is a scan and ours a
simulation of the same spheres under the same timings, so the numbers stand side by side but do not race.
"""

from dataclasses import dataclass
from typing import final

SPHERES_MS = (1884, 1330, 987, 690, 485, 342, 241, 175, 121, 85, 60, 43, 30, 21)
SPHERE_NAMES = tuple(f"{t1} ms" for t1 in SPHERES_MS)


@final
@dataclass(frozen=True, kw_only=True)
class PublishedSpheres:
    """One column of the table.

    Attributes:
        method: As the paper calls it.
        mean_ms: T1 of spheres 1 to 14 [ms].
        sd_ms: Standard deviation in each region [ms].
    """

    method: str
    mean_ms: tuple[int, ...]
    sd_ms: tuple[int, ...]


PUBLISHED = (
    PublishedSpheres(
        method="ResNet",
        mean_ms=(1534, 4575, 2452, 1654, 617, 175, 139, 121, 124, 89, 78, 60, 66, 117),
        sd_ms=(72, 1203, 418, 415, 139, 62, 26, 13, 12, 10, 11, 9, 9, 31),
    ),
    PublishedSpheres(
        method="RIM",
        mean_ms=(1835, 1365, 966, 683, 504, 354, 211, 186, 101, 90, 1053, 68, 26, 34),
        sd_ms=(39, 22, 17, 18, 15, 16, 18, 23, 31, 140, 62, 98, 18, 41),
    ),
    PublishedSpheres(
        method="Diffusor",
        mean_ms=(1772, 1353, 1003, 695, 503, 370, 263, 224, 176, 161, 139, 116, 100, 118),
        sd_ms=(36, 20, 15, 16, 13, 14, 12, 14, 15, 25, 21, 19, 19, 31),
    ),
)
