"""The stated accuracy of maps from two images is the one on record."""

from pathlib import Path

from unweight.learn.weighted.fewer_images import ERRORS, note_on_fewer_images

RECORD = Path(__file__).parents[3] / "benchmarks" / "results" / "maps-two.tsv"


def test_figures_are_those_of_the_benchmark() -> None:
    rows = [line.split("\t") for line in RECORD.read_text().splitlines()[1:]]
    recorded = {(images, name): cells for images, name, *cells in rows}
    for absent, errors in ERRORS.items():
        images = ", ".join(name for name in ("T1w", "T2w", "FLAIR") if name != absent)
        for name, pair in zip(("T1", "T2", "PD"), errors, strict=True):
            cells = recorded[images, name][:2]
            assert tuple(float(cell.split()[0]) for cell in cells) == pair


def test_a_note_only_where_an_image_is_absent_and_figures_only_for_these_weights() -> None:
    assert note_on_fewer_images(("T1w", "T2w", "FLAIR"), "maps") == ""
    assert "5.4 / 5.2 %" in note_on_fewer_images(("T1w", "T2w"), "maps")
    assert "82 % of voxels" in note_on_fewer_images(("T1w", "FLAIR"), "maps")
    for weights in ("", "maps-unet"):
        assert "not been measured" in note_on_fewer_images(("T1w", "T2w"), weights)
