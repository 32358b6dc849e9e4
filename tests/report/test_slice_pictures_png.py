import io

import matplotlib.image as image
import numpy as np

from unweight.report.slice_pictures import indexed_png


def test_another_reader_sees_the_same_colours() -> None:
    palette = np.linspace(0, 1, 256)[:, None] * np.array([1.0, 0.5, 0.25])
    pixels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    content = indexed_png(pixels, palette)
    seen = image.imread(io.BytesIO(content))[..., :3]
    np.testing.assert_allclose(seen, palette[pixels], atol=1 / 255)
    assert content == indexed_png(pixels, palette)
