import io

import matplotlib.image
import numpy as np
import torch

from tests.learn.segmentation.test_segmenter import affine, image
from unweight.report.segment_picture import segment_picture


def pixels(labels: torch.Tensor) -> np.ndarray:
    content = segment_picture(image(), labels, affine(), "a brain")
    return matplotlib.image.imread(io.BytesIO(content))[..., :3]


def test_labels_are_drawn_in_their_colours() -> None:
    scan = image()
    labels = torch.where(scan == 1.0, 12, 0).to(torch.uint8)
    drawn = pixels(labels)
    reddish = (drawn[..., 0] > 0.6) & (drawn[..., 1] < 0.6) & (drawn[..., 2] > 0.5)
    height = drawn.shape[0]
    assert reddish[height // 2 :].mean() > 0.02
    assert reddish[: height // 2].mean() < 0.002


def test_the_same_bytes_again_and_no_labels_at_all() -> None:
    empty = torch.zeros_like(image(), dtype=torch.uint8)
    one, two = (segment_picture(image(), empty, affine(), "empty") for _ in range(2))
    assert one == two
