"""Tables of an evaluation of maps: what is in them, and that they fit on a screen."""

from unweight.benchmark.weighted.tables import weighted_tables
from unweight.metrics.scores import Score


def score(metric: str, value: float, *, parameter: str = "T1", group: str = "all") -> Score:
    return Score(
        method="embedding",
        dataset="internal",
        parameter=parameter,
        group=group,
        metric=metric,
        value=value,
        n=10,
    )


def test_whole_brain_as_images_and_voxel_by_voxel() -> None:
    scores = [score("psnr", 27.061), score("ssim", 0.97123), score("mae", 0.111), score("mape", 0.076)]
    images, voxels, *_ = weighted_tables(scores)
    assert "image metrics" in images.title and "voxelwise" in voxels.title
    assert images.rows[0][:3] == ("T1", "embedding", "27.06")
    assert images.rows[0][-1] == "0.9712"
    assert voxels.rows[0][2] == "111.0 ms"
    assert voxels.rows[0][4] == "7.6"


def test_what_was_not_measured_is_not_a_number_in_a_table() -> None:
    images, *_ = weighted_tables([score("psnr", 27.061)])
    assert images.rows[0][3] == "n/a"


def test_tables_are_no_wider_than_a_page() -> None:
    images, voxels, *_ = weighted_tables([score("psnr", 27.061)])
    assert len(images.columns) <= 8 and len(voxels.columns) <= 10
