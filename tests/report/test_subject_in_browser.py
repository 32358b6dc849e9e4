"""A page in a real browser: what it shows is what the files hold, and it asks nobody for anything.

Chromium is looked for in UNWEIGHT_CHROMIUM and under its usual names; without it these tests skip.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from playwright.sync_api import Error, Page, sync_playwright

from tests.report.conftest import maps_of, provenance
from unweight.bids.derivatives.write import write_maps
from unweight.core.maps import VoxelStatus
from unweight.report.subject import write_subject_page
from unweight.signals.parameters import T1

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
READY = "html[data-viewer]"
SLOW_MS = 90_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    found = os.environ.get("UNWEIGHT_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium, or set UNWEIGHT_CHROMIUM)")
    with sync_playwright() as player:
        try:
            browser = player.chromium.launch(executable_path=found, headless=True, args=QUIET)
        except Error as error:
            pytest.skip(f"{found} does not start: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


class Watched:
    """A page, what it asked for and what went wrong in it."""

    def __init__(self, browser, path: Path, **context: object) -> None:  # type: ignore[no-untyped-def]
        context.setdefault("viewport", {"width": 1280, "height": 900})
        self.context = browser.new_context(**context)
        self.page: Page = self.context.new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda one: self.requests.append(one.url))
        self.page.on("pageerror", lambda one: self.errors.append(str(one)))
        self.page.on("console", lambda one: self.errors.append(one.text) if one.type == "error" else None)
        self.page.goto(path.as_uri())
        self.page.wait_for_selector(READY, state="attached", timeout=SLOW_MS)

    def fetched(self) -> list[str]:
        return [one for one in self.requests if not one.startswith(("data:", "blob:", "file:"))]

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def page_path(derivatives: Path) -> Path:
    return write_subject_page(derivatives, "01")


def stored(folder: Path, name: str, millimetres: np.ndarray) -> float:
    """Return the value of a NIfTI file at a place, the nearest voxel."""
    image = nib.load(folder / name)
    place = np.linalg.inv(image.affine) @ np.array([*millimetres, 1.0])
    index = tuple(round(one) for one in place[:3])
    return float(np.asarray(image.dataobj)[index])


def box_of(page: Page, pane: int) -> dict[str, float]:
    """Return where a pane of the first map is, after scrolling to it."""
    view = page.locator(".row").first.locator(".view").nth(pane)
    view.evaluate("(one) => one.scrollIntoView({ block: 'center', behavior: 'instant' })")
    page.wait_for_timeout(200)
    box = view.bounding_box()
    assert box is not None
    return dict(box)


def voxel(page: Page) -> tuple[int, ...]:
    """Return the voxel under the crosshair, axes to the right, front and up."""
    text = page.locator(".row").first.locator(".readout").get_attribute("data-voxel") or ""
    return tuple(int(one) for one in text.split(","))


def readout(page: Page, row: int = 0) -> tuple[np.ndarray, dict[str, str]]:
    line = page.locator(".row").nth(row).locator(".readout")
    place = np.array([float(one) for one in (line.get_attribute("data-mm") or "").split(",")])
    parts = {
        (one.get_attribute("class") or "").split()[0]: one.inner_text()
        for one in line.locator("span").all()
    }
    return place, parts


def test_crosshair_tells_what_the_files_hold(chromium: object, page_path: Path, tmp_path: Path) -> None:
    watched = Watched(chromium, page_path)
    page, folder = watched.page, page_path.parent / "sub-01" / "anat"
    assert page.locator("html").get_attribute("data-viewer") == "live"
    seen = set()
    page.locator(".row").first.locator("[data-plane=axial]").click()
    box = box_of(page, 1)
    for across, down in ((0.5, 0.5), (0.4, 0.45), (0.55, 0.62), (0.62, 0.4)):
        page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])
        page.wait_for_timeout(250)
        place, parts = readout(page)
        t1 = stored(folder, "sub-01_acq-ir_T1map.nii.gz", place)
        sd = stored(folder, "sub-01_acq-ir_desc-std_T1map.nii.gz", place)
        misfit = stored(folder, "sub-01_acq-ir_desc-misfit_T1map.nii.gz", place)
        assert np.isfinite(t1)
        assert parts["value"] == f"T1 {t1:.3f} ± {sd:.3f} s"
        assert float(parts["misfit"].split()[-1]) == pytest.approx(misfit, abs=0.0101)
        assert parts["status"] == "usable"
        seen.add(tuple(place.round(3)))
    assert len(seen) == 4  # the crosshair did move
    page.locator(".row").first.locator(".view").first.focus()
    before = voxel(page)
    page.keyboard.press("PageUp")
    page.wait_for_timeout(250)
    after, parts = readout(page)
    assert voxel(page) == (before[0], before[1], before[2] + 1)
    t1 = stored(folder, "sub-01_acq-ir_T1map.nii.gz", after)
    assert parts["value"].startswith(f"T1 {t1:.3f} ")
    assert watched.errors == []
    assert watched.fetched() == []
    watched.close()


def test_voxels_without_value_and_suspect_ones_are_said(chromium: object, page_path: Path) -> None:
    watched = Watched(chromium, page_path)
    folder = page_path.parent / "sub-01" / "anat"
    affine = nib.load(folder / "sub-01_acq-ir_T1map.nii.gz").affine
    for index, status in (
        ((9, 11, 9), "implausible"),
        ((11, 11, 9), "not converged"),
        ((8, 11, 9), "usable"),
    ):
        place = (affine @ np.array([*index, 1.0]))[:3]
        watched.page.evaluate(
            "(mm) => { const nv = unweightViewers[0].nv; nv.scene.crosshairPos = nv.mm2frac(mm);"
            " nv.drawScene(); nv.createOnLocationChange(); }",
            [float(one) for one in place],
        )
        _, parts = readout(watched.page)
        assert parts["status"] == status
        assert ("no value" in parts["value"]) == (status == "not converged")
    watched.close()


def test_colours_on_the_screen_are_those_of_the_rule(chromium: object, page_path: Path) -> None:
    """The drawn pixel under a voxel has the colour that the table gives its value."""
    from unweight.report.colours import colours_for
    from unweight.signals.parameters import T1

    watched = Watched(chromium, page_path)
    page = watched.page
    page.locator(".row").first.locator("[data-plane=axial]").click()
    box = box_of(page, 0)
    page.mouse.click(box["x"] + 0.42 * box["width"], box["y"] + 0.44 * box["height"])
    page.wait_for_timeout(250)
    place, _ = readout(page)
    t1 = stored(page_path.parent / "sub-01" / "anat", "sub-01_acq-ir_T1map.nii.gz", place)
    page.evaluate("() => { const nv = unweightViewers[0].nv; nv.setCrosshairWidth(0); nv.drawScene(); }")
    pixel = page.evaluate(
        "([x, y]) => { const nv = unweightViewers[0].nv; nv.drawScene(); const gl = nv.gl;"
        " const c = gl.canvas; const out = new Uint8Array(4);"
        " gl.readPixels(Math.round(x * c.width), Math.round((1 - y) * c.height), 1, 1, gl.RGBA,"
        " gl.UNSIGNED_BYTE, out); return [...out]; }",
        [0.42, 0.44],
    )
    colours, norm = colours_for(T1, np.array([t1]))
    expected = 255 * np.asarray(colours(norm(np.array([t1]))))[0, :3]
    np.testing.assert_allclose(pixel[:3], expected, atol=12)  # neighbours differ by 1 % of T1
    watched.close()


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("light", 1280, "light"), ("dark", 1280, "dark"), ("narrow", 390, "light")],
)
def test_page_fits_and_follows_the_scheme(
    chromium: object, page_path: Path, tmp_path: Path, name: str, width: int, scheme: str
) -> None:
    watched = Watched(chromium, page_path, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = watched.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    bright = sum(int(one) for one in paper.removeprefix("rgb(").removesuffix(")").split(",")) > 380
    assert bright == (scheme == "light")
    page.locator("#theme").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != paper
    picture = tmp_path / f"{name}.png"
    page.screenshot(path=picture)
    assert picture.stat().st_size > 10_000
    assert page.evaluate("window.pwned") is None
    assert watched.errors == []
    assert watched.fetched() == []
    watched.close()


def test_every_map_can_be_opened_and_only_three_viewers_live(chromium: object, page_path: Path) -> None:
    watched = Watched(chromium, page_path)
    page = watched.page
    for number in (1, page.locator(".row").count() - 1, 0):
        page.locator(".row").nth(number).locator(".open").click()
        page.wait_for_selector(f'.row[data-map="{number}"] .readout .value', timeout=SLOW_MS)
        assert page.locator(".row.live").count() == 1
    assert page.evaluate("document.querySelectorAll('canvas').length") <= 3
    assert watched.errors == []
    watched.close()


def test_without_webgl_pictures_stand_in(chromium: object, page_path: Path) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})  # type: ignore[attr-defined]
    page = context.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(page_path.as_uri())
    page.wait_for_selector('html[data-viewer="none"]', state="attached", timeout=SLOW_MS)
    assert "does not support WebGL 2" in page.locator("#noviewer").inner_text()
    assert page.locator(".view img").first.is_visible()
    assert page.locator(".open").first.is_hidden()
    context.close()


def test_print_shows_pictures_and_everything_folded(chromium: object, page_path: Path) -> None:
    watched = Watched(chromium, page_path)
    page = watched.page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator(".row.live .view img").first.is_visible()
    assert page.locator("details:not([open])").count() == 0
    assert page.locator("#theme").is_hidden()
    watched.close()


def test_suspect_voxels_are_painted_on_request(chromium: object, page_path: Path) -> None:
    watched = Watched(chromium, page_path)
    page = watched.page
    table = "() => unweightViewers[0].nv.volumes[1].colormap"
    assert page.evaluate(table) == "unmarked"
    alpha = (
        "(code) => { const nv = unweightViewers[0].nv;"
        " return nv.colormap(nv.volumes[1].colormap)[4 * code + 3]; }"
    )
    ok, masked, implausible = 0, 1 * 28, 5 * 28
    assert [page.evaluate(alpha, code) for code in (ok, masked, implausible)] == [0, 255, 0]
    page.locator(".paint").first.check()
    assert page.evaluate(table) == "marked"
    assert [page.evaluate(alpha, code) for code in (ok, masked, implausible)] == [0, 255, 215]
    assert watched.errors == []
    watched.close()


def test_ends_of_the_interval_and_the_meaning_of_a_status_are_read_out(
    chromium: object, tmp_path: Path
) -> None:
    plain = maps_of((T1,))
    ends = {"lower": 0.9 * plain.values, "upper": 1.1 * plain.values, "interval_level": 0.9}
    write_maps(maps_of((T1,), **ends), tmp_path, {"sub": "01"}, provenance())
    watched = Watched(chromium, write_subject_page(tmp_path, "01"))
    anat = tmp_path / "sub-01" / "anat"
    affine = nib.load(anat / "sub-01_T1map.nii.gz").affine
    for index, suspect in (((8, 11, 9), False), ((9, 11, 9), True)):
        place = (affine @ np.array([*index, 1.0]))[:3]
        watched.page.evaluate(
            "(mm) => { const nv = unweightViewers[0].nv; nv.scene.crosshairPos = nv.mm2frac(mm);"
            " nv.drawScene(); nv.createOnLocationChange(); }",
            [float(one) for one in place],
        )
        _, parts = readout(watched.page)
        low, high = (stored(anat, f"sub-01_desc-{end}90_T1map.nii.gz", place) for end in ("lower", "upper"))
        assert parts["interval"] == f"90 % interval {low:.3f} to {high:.3f} s"
        assert ("meaning" in parts) == suspect
    assert parts["meaning"] == VoxelStatus.IMPLAUSIBLE.meaning
    assert watched.errors == []
    watched.close()


def test_pages_can_share_the_viewer(chromium: object, derivatives: Path) -> None:
    whole = write_subject_page(derivatives, "01").stat().st_size
    page = write_subject_page(derivatives, "01", shared_assets=True)
    (viewer,) = derivatives.glob("unweight-viewer-*.js")
    assert page.stat().st_size < whole - 2_000_000 and viewer.stat().st_size > 2_000_000
    assert "unweight-viewer-*.js" in (derivatives / ".bidsignore").read_text().split()
    watched = Watched(chromium, page)
    assert watched.page.locator("html").get_attribute("data-viewer") == "live"
    assert watched.page.evaluate("window.pwned") is None
    assert watched.errors == []
    assert watched.fetched() == []
    watched.close()
    viewer.unlink()
    context = chromium.new_context()  # type: ignore[attr-defined]
    alone = context.new_page()
    alone.goto(page.as_uri())
    alone.wait_for_selector('html[data-viewer="none"]', state="attached", timeout=SLOW_MS)
    assert "missing beside this page" in alone.locator("#noviewer").inner_text()
    assert alone.locator(".view img").first.is_visible()
    context.close()
