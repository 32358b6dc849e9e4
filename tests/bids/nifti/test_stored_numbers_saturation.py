import numpy as np

from unweight.bids.nifti.stored_numbers import at_ceiling


def noisy(top: int) -> np.ndarray:
    draws = np.random.default_rng(1).normal(top / 2, top / 8, (60, 60, 4))
    return np.clip(draws, 0, top).astype("i2")


def test_a_pile_at_the_top_of_12_bits_or_of_the_type_is_flagged() -> None:
    for top, kind in ((4095, "i2"), (4095, "u2"), (255, "u1"), (32767, "i2")):
        stored = np.minimum(noisy(top), int(0.8 * top)).astype("i4")
        stored[:2, :2, 0] = top
        stored = stored.astype(kind)
        np.testing.assert_array_equal(at_ceiling(stored), stored == top)


def test_the_highest_value_of_an_image_is_no_ceiling_by_itself() -> None:
    stored = np.full((10, 10, 2), 3000, dtype="i2")
    assert not at_ceiling(stored).any()
    stored[0, 0, 0] = 4095  # one voxel only
    assert not at_ceiling(stored).any()


def test_an_image_scaled_to_fill_its_format_is_not_clipped() -> None:
    stored = np.random.default_rng(0).triangular(0, 60, 256, (80, 80, 8)).astype("u1")
    stored[0, 0, 0] = 255
    assert not at_ceiling(stored).any()


def test_signed_images_have_a_bottom() -> None:
    stored = np.clip(np.random.default_rng(0).normal(2048, 500, (40, 40, 4)), 300, 3900).astype("i2")
    stored[:3, :3, 0] = 0
    assert int(at_ceiling(stored, zero=2048.0).sum()) == 9
    assert not at_ceiling(stored, zero=0.0).any()
    full = np.zeros((10, 10, 1), "i2")
    full[:3, :3] = -32768
    assert int(at_ceiling(full).sum()) == 9
