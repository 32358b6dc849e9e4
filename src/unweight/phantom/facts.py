"""The ISMRM/NIST system phantom: its two relaxation plates as plain facts.

A sphere of water, 200 mm wide, carries plates with 14 small spheres each: ten on a ring of 50 mm,
numbered clockwise from the top of the coronal image, and four on the corners of a square of 40 mm,
numbered clockwise from the upper left. Plate 5 holds NiCl2 (the T1 array), plate 4 MnCl2 (the T2
array). T1 falls from sphere 1 to sphere 14 on both.

Relaxation times are for 20 °C. Version 1 is serial number 0041 and below: Stupic et al., Magn Reson
Med 86:1194, 2021, supplement; the manual of the phantom, as the reference values of hazen 2.0 repeat
it. Version 2, plate 5, 3 T is the maker's list of 2020 used by the T1 reproducibility challenge
(Boudreau et al., Magn Reson Med 92:1115, 2024); no list for 1.5 T belongs to it. Version 2, plate 4 is
the table of the manual for serial numbers from 0042; its ratios between the fields equal those of
version 1.

Lengths were measured on images of three scanners at 1.5 T (Siemens Aera and Sola, GE MR450w): the
ring is 50.0 to 50.4 mm, the square 40.0 to 40.4 mm, single spheres sit up to 0.9 mm off, and inside
and outside radii of a sphere are 8.0 ± 0.2 and 10.0 ± 0.1 mm.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

from unweight.core.errors import UsageError

N_SPHERES = 14
N_RING = 10
RING_RADIUS_MM = 50.0
INNER_OFFSET_MM = 20.0
SPHERE_RADIUS_MM = 8.0
SHELL_RADIUS_MM = 10.0
CONTAINER_RADIUS_MM = 100.0
POST_RADIUS_MM = 6.8
POST_BORE_MM = 1.5
INSET_SIZE_MM = (52.0, 17.0)
INSET_WALL_MM = 3.5
INSET_CELL_MM = 4.5
WATER_T1 = 2.7

Point = tuple[float, float]


@final
@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """Relaxation times of the 14 spheres of one plate at one field.

    Attributes:
        t1: From sphere 1 to sphere 14 [s].
        t2: Likewise [s]; None where no value is published.
    """

    t1: tuple[float, ...]
    t2: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for values in (self.t1, self.t2):
            if values is not None and (
                len(values) != N_SPHERES or list(values) != sorted(values, reverse=True)
            ):
                raise UsageError(f"relaxation times of {N_SPHERES} spheres are needed, longest first")


@final
@dataclass(frozen=True, kw_only=True)
class SphereArray:
    """One plate of one phantom: where its spheres are and what they hold.

    The plane of the plate has x to the right and y upwards, as the coronal image shows it.

    Attributes:
        plate: 5 for NiCl2, 4 for MnCl2.
        version: 1 up to serial number 0041, 2 from 0042 on.
        solution: What the spheres are filled with.
        height_mm: Plane of the sphere centres above the centre of the container.
        posts_mm: Centres of the three posts that carry the plates; they look dark.
        nominal: Relaxation times.
        nominal_field: Field the relaxation times are for [T].
    """

    plate: int
    version: int
    solution: str
    height_mm: float
    posts_mm: tuple[Point, ...]
    nominal: Relaxation
    nominal_field: float

    @property
    def centres_mm(self) -> tuple[Point, ...]:
        """Centres of spheres 1 to 14."""
        return SPHERE_CENTRES_MM


def sphere_array(plate: int, version: int, field_strength: float | None = None) -> SphereArray:
    """Return a plate with the nominal values of the nearest field that is known for it.

    Args:
        plate: 4 or 5.
        version: 1 or 2.
        field_strength: Field of the scanner [T]; 3 T if unknown. `nominal_field` of the result says
            which field its values are for.

    Raises:
        UsageError: There is no such plate or version.
    """
    if (plate, version) not in NOMINAL:
        raise UsageError(
            f"no values for plate {plate} of a version {version} phantom",
            remedy="Plates are 4 and 5, versions 1 (serial number up to 0041) and 2.",
        )
    known = NOMINAL[(plate, version)]
    wanted = 3.0 if field_strength is None else field_strength
    nearest = min(known, key=lambda field: abs(field - wanted))
    return SphereArray(
        plate=plate,
        version=version,
        solution=SOLUTIONS[plate],
        height_mm=HEIGHTS_MM[plate],
        posts_mm=POSTS_MM[plate],
        nominal=known[nearest],
        nominal_field=nearest,
    )


def _clockwise(radius: float, degrees: float) -> Point:
    """Return the point at this angle from the top, clockwise."""
    angle = math.radians(degrees)
    return radius * math.sin(angle), radius * math.cos(angle)


SPHERE_CENTRES_MM: tuple[Point, ...] = (
    *(_clockwise(RING_RADIUS_MM, 36.0 * place) for place in range(N_RING)),
    (-INNER_OFFSET_MM, INNER_OFFSET_MM),
    (INNER_OFFSET_MM, INNER_OFFSET_MM),
    (INNER_OFFSET_MM, -INNER_OFFSET_MM),
    (-INNER_OFFSET_MM, -INNER_OFFSET_MM),
)
SOLUTIONS: Mapping[int, str] = MappingProxyType({4: "MnCl2", 5: "NiCl2"})
HEIGHTS_MM: Mapping[int, float] = MappingProxyType({4: 16.5, 5: 56.5})
POSTS_MM: Mapping[int, tuple[Point, ...]] = MappingProxyType(
    {
        4: tuple(_clockwise(76.0, degrees) for degrees in (-45.0, 75.0, 195.0)),
        5: tuple(_clockwise(58.5, degrees) for degrees in (-18.4, 90.0, 198.4)),
    }
)


def _milliseconds(t1: str, t2: str = "") -> Relaxation:
    """Read lists written in milliseconds, as the sources print them."""
    return Relaxation(
        t1=tuple(float(value) / 1000 for value in t1.split()),
        t2=tuple(float(value) / 1000 for value in t2.split()) or None,
    )


NOMINAL: Mapping[tuple[int, int], Mapping[float, Relaxation]] = MappingProxyType(
    {
        (5, 1): {
            1.5: _milliseconds(
                "2033 1489 1012 730.8 514.1 367.9 260.1 184.6 132.7 92.7 65.4 46.32 32.45 22.859",
                "1669 1244 859.3 628.5 446.3 321.2 227.7 161.9 117.1 81.9 57.7 41.0 28.7 20.2",
            ),
            3.0: _milliseconds(
                "1989 1454 984.1 706 496.7 351.5 247.13 175.3 125.9 89.0 62.7 44.53 30.84 21.719",
                "1465 1076 717.9 510.1 359.6 255.5 180.8 127.3 90.3 64.3 45.7 31.86 22.38 15.83",
            ),
        },
        (5, 2): {
            3.0: _milliseconds(
                "1883.97 1330.16 987.27 690.08 484.97 341.58 240.86 174.95 "
                "121.08 85.75 60.21 42.89 30.40 21.44",
            ),
        },
        (4, 1): {
            1.5: _milliseconds(
                "2376 2183 1870 1539 1237 1030 752.2 550.2 413.4 292.9 194.9 160.2 106.4 83.3",
                "939.4 594.3 416.5 267.0 184.9 140.6 91.76 64.84 45.28 30.62 19.76 15.99 10.47 8.15",
            ),
            3.0: _milliseconds(
                "2480 2173 1907 1604 1332 1044 801.7 608.6 458.4 336.5 244.2 176.6 126.9 90.9",
                "581.3 403.5 278.1 190.94 133.27 96.89 64.07 46.42 31.97 22.56 15.813 11.237 7.911 5.592",
            ),
        },
        (4, 2): {
            1.5: _milliseconds(
                "2640 2292 1923 1489 1245 1004 733.9 533.1 400.3 261.0 189.8 154.7 102.1 79.65",
                "1044 623.9 428.3 258.4 186.1 137.0 89.52 62.82 43.84 27.28 19.24 15.44 10.05 7.79",
            ),
            3.0: _milliseconds(
                "2756 2281 1961 1552 1341 1017 782.1 589.7 443.8 299.8 237.8 170.5 121.8 86.9",
                "645.8 423.6 286.0 184.8 134.1 94.40 62.51 44.98 30.95 20.10 15.40 10.85 7.59 5.35",
            ),
        },
    }
)
