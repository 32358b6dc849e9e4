import csv
import math
import statistics

import pytest

from unweight.core.errors import UsageError
from unweight.phantom.facts import (
    NOMINAL,
    SHELL_RADIUS_MM,
    SPHERE_CENTRES_MM,
    Relaxation,
    sphere_array,
)


def test_values_printed_in_the_literature() -> None:
    # Boudreau et al., Magn Reson Med 2024, table 1, spheres 1 and 3; Stupic et al. 2021, NiCl2 at 1.5 T.
    assert sphere_array(5, 2, 3.0).nominal.t1[0] == pytest.approx(1.88397)
    assert sphere_array(5, 2, 3.0).nominal.t1[2] == pytest.approx(0.98727)
    assert sphere_array(5, 1, 3.0).nominal.t1[0] == pytest.approx(1.989)
    assert sphere_array(5, 1, 1.5).nominal.t1[13] == pytest.approx(0.022859)


def test_the_fields_differ_alike_in_both_versions() -> None:
    # The same solutions, other concentrations: T1 at 1.5 T over T1 at 3 T of a sphere barely moves.
    for old, new in zip(*(_field_ratio(version) for version in (1, 2)), strict=True):
        assert old == pytest.approx(new, rel=0.005)


def _field_ratio(version: int) -> list[float]:
    known = NOMINAL[(4, version)]
    return [low / high for low, high in zip(known[1.5].t1, known[3.0].t1, strict=True)]


def test_t2_is_shorter_than_t1() -> None:
    for fields in NOMINAL.values():
        for nominal in fields.values():
            if nominal.t2 is not None:
                assert all(t2 < t1 for t1, t2 in zip(nominal.t1, nominal.t2, strict=True))


def test_unknown_field_falls_back_to_the_nearest_and_says_so() -> None:
    assert sphere_array(5, 2, 1.5).nominal_field == 3.0
    assert sphere_array(5, 1, 1.494).nominal_field == 1.5
    assert sphere_array(4, 1).nominal_field == 3.0


def test_spheres_run_clockwise_and_do_not_touch() -> None:
    ring = SPHERE_CENTRES_MM[:10]
    assert ring[0] == pytest.approx((0.0, 50.0))
    assert ring[1][0] > 0 > ring[9][0]
    corners = [(math.copysign(1, x), math.copysign(1, y)) for x, y in SPHERE_CENTRES_MM[10:]]
    assert corners == [(-1, 1), (1, 1), (1, -1), (-1, -1)]
    for index, one in enumerate(SPHERE_CENTRES_MM):
        for other in SPHERE_CENTRES_MM[:index]:
            assert math.dist(one, other) > 2 * SHELL_RADIUS_MM


def test_unknown_plates_and_unsorted_values_are_refused() -> None:
    with pytest.raises(UsageError, match="no values for plate 3 of a version 1 phantom"):
        sphere_array(3, 1)
    with pytest.raises(UsageError, match="longest first"):
        Relaxation(t1=tuple(0.1 * n for n in range(1, 15)))


def test_nominal_column_of_the_real_images_is_version_1_at_1_5_tesla(shared_data) -> None:
    with (shared_data("nist_ir_hazen") / "roi_signals.csv").open() as file:
        for row in csv.DictReader(file):
            nominal = sphere_array(int(row["plate"][-1]), 1, 1.5).nominal.t1[int(row["sphere"]) - 1]
            assert float(row["nominal_T1_ms"]) / 1000 == pytest.approx(nominal, rel=1e-4)


def test_what_many_sites_measure_agrees_with_version_2(shared_data) -> None:
    with (shared_data("rrsg_nist_t1") / "rrsg_nist_t1_medians.csv").open() as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["phantom_ver"], row["field_T"]) == ("V2", "3.0")
            and row["one_per_scanner_whitelist"] == "True"
        ]
    nominal = sphere_array(5, 2, 3.0).nominal.t1
    for sphere in range(1, 9):  # their protocol does not resolve the shorter ones
        measured = [float(row[f"T1_s{sphere}"]) / 1000 for row in rows]
        assert statistics.median(measured) == pytest.approx(nominal[sphere - 1], rel=0.05)
