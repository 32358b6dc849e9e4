import csv
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from unweight.cli.main import main

SITES = {
    "site1_20200218/plate5": "magnitude, TR varies with TI",
    "site2_20180925/plate5": "signed, TR varies with TI",
    "site3_ge/plate5": "magnitude, TR 1 s",
    "site3_ge/plate4": "magnitude, TR 1 s",
}


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Gives the maps of a real phantom by the fit, made once; who writes among them takes a copy."""
    made: dict[Path, Path] = {}

    def of(images: Path) -> Path:
        if images not in made:
            made[images] = tmp_path_factory.mktemp("fitted") / "maps"
            assert main(["t1", str(images), "-o", str(made[images]), "--quiet", "--method", "ml"]) == 0
        return made[images]

    return of


def table(out: Path) -> list[dict[str, str]]:
    (path,) = out.rglob("*_phantom.tsv")
    with path.open() as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def test_table_of_the_demo_is_near_the_truth(demo: Path) -> None:
    rows = table(demo / "maps")
    assert [row["sphere"] for row in rows] == [str(number) for number in range(1, 15)]
    first = ("sphere", "t1_nominal_s", "t1_mean_s", "t1_sd_s", "error_percent", "status")
    assert tuple(rows[0])[:6] == first
    for row in rows[:12]:
        assert abs(float(row["error_percent"])) < 3.0, row
        assert row["status"] == "ok"
    # 21 ms, far below the first inversion time: the fit alone is imprecise there.
    assert abs(float(rows[13]["error_percent"])) < 15.0


def test_images_give_the_same_spheres(demo: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    shutil.copytree(demo / "maps", maps)
    words = ["phantom", str(maps), "--version", "2", "--quiet"]
    assert main([*words, "--images", str(demo / "bids")]) == 0
    for row, other in zip(table(maps), table(demo / "maps"), strict=True):
        for axis in ("x_mm", "y_mm", "z_mm"):
            assert abs(float(row[axis]) - float(other[axis])) < 5.1  # at most the next slice


@pytest.mark.parametrize("site", SITES)
def test_real_phantom_from_dicom_to_table(
    shared_data, fitted: Callable[[Path], Path], tmp_path: Path, site: str
) -> None:
    """T1 within 2 % of the published finite-TR fit to region means, spheres 1 to 10, found unaided.

    Two spheres are exempt, and the reasons are in docs/decisions: sphere 4 of site 1, where two
    solutions with almost the same signal lie in one sphere, and sphere 1 of plate 4, where the
    published value is the worse of two polarities.
    """
    data = shared_data("nist_ir_hazen")
    plate = site.split("/")[1].removeprefix("plate")
    out = shutil.copytree(fitted(data / "T1" / site), tmp_path / "maps")
    images = ["--images", str(data / "T1" / site)]
    assert main(["phantom", str(out), "--version", "1", "--quiet", *images]) == 0
    rows = {int(row["sphere"]): row for row in table(out)}
    with (data / "roi_signals.csv").open() as lines:
        published = {
            int(row["sphere"]): float(row["T1_TRmodel_ms"]) / 1e3
            for row in csv.DictReader(lines)
            if f"{row['site']}/{row['plate']}" == site
        }
    off = {n: 100 * (float(rows[n]["t1_mean_s"]) / published[n] - 1) for n in range(1, 11)}
    region = {n: 100 * (float(rows[n]["t1_region_s"]) / published[n] - 1) for n in range(1, 11)}
    exempt = {"site1_20200218/plate5": {4}, "site3_ge/plate4": {1}}.get(site, set())
    for number in set(range(1, 11)) - exempt:
        assert abs(off[number]) < 2.0, (number, off)
        assert abs(region[number]) < 2.0, (number, region)
    if plate == "4":
        assert rows[1]["status"] == "ambiguous"


@pytest.mark.parametrize("site", SITES)
def test_the_posterior_agrees_with_the_fit(
    shared_data, fitted: Callable[[Path], Path], tmp_path: Path, site: str
) -> None:
    """Spheres 1 to 10 within 4.5 % of the fit, but for the two that the test of the fit sets aside."""
    images = shared_data("nist_ir_hazen") / "T1" / site
    shutil.copytree(fitted(images), tmp_path / "ml")
    words = ["t1", str(images), "-o", str(tmp_path / "posterior"), "--quiet", "--no-figures"]
    assert main([*words, "--method", "posterior"]) == 0
    found = {}
    for method in ("ml", "posterior"):
        out = tmp_path / method
        assert main(["phantom", str(out), "--version", "1", "--quiet"]) == 0
        found[method] = {int(row["sphere"]): float(row["t1_mean_s"]) for row in table(out)}
    exempt = {"site1_20200218/plate5": {4}, "site3_ge/plate4": {1}}.get(site, set())
    off = {n: 100 * (found["posterior"][n] / found["ml"][n] - 1) for n in set(range(1, 11)) - exempt}
    assert max(map(abs, off.values())) < 4.5, off
    assert statistics.median(map(abs, off.values())) < 2.0, off


def test_both_plates_of_one_folder(shared_data, tmp_path: Path) -> None:
    data = shared_data("nist_ir_hazen")
    out = tmp_path / "maps"
    assert main(["t1", str(data / "T1" / "site3_ge"), "-o", str(out), "--quiet", "--no-figures"]) == 0
    assert main(["phantom", str(out), "--version", "1", "--quiet"]) == 0
    assert len(list(out.rglob("*_desc-plate?_phantom.tsv"))) == 2


def test_new_maps_take_the_old_table_away(demo: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    shutil.copytree(demo / "maps", maps)
    assert len(list(maps.rglob("*plate5_phantom.*"))) == 2
    again = ["t1", str(demo / "bids"), "-o", str(maps), "--efficiency", "1.96", "--quiet", "--no-figures"]
    assert main(again) == 0
    assert not list(maps.rglob("*phantom.tsv"))
    assert not list(maps.rglob("*.png"))


def test_messages(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phantom", str(tmp_path), "--version", "1"]) == 2
    assert "contains no T1map written by unweight" in capsys.readouterr().err
    maps = tmp_path / "maps"
    shutil.copytree(demo / "maps", maps)
    image = maps / "sub-phantom" / "anat" / "sub-phantom_PDmap.nii.gz"
    image.write_bytes(image.read_bytes()[:-20])
    assert main(["phantom", str(maps), "--version", "2"]) == 2
    assert "incomplete or was changed" in capsys.readouterr().err
