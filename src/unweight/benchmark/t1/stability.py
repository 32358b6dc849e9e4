"""What must not matter to a method: the order of the volumes, their unit, and where the image ends.

One noisy slice of the phantom is mapped, and mapped again after a change that leaves every voxel its
signal. Scored is the change of T1 in the voxels of the spheres. Cropping and padding show less or more of
the same noisy image on every side: a change there is one that a user gets with another field of view.
"""

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.benchmark.core.run import Watch
from unweight.benchmark.t1.datasets import phantom_scan, plate, spheres_of
from unweight.core.acquisition import Acquisition
from unweight.core.errors import ProtocolError
from unweight.core.estimator import Estimator, Progress
from unweight.metrics.scores import Score, ScoreContext

STABILITY = "stability"
ORDER = (3, 0, 6, 2, 5, 1, 4)
SCALES = (0.1, 10.0)
MARGINS = (3, 16)  # [voxel]
NOTICEABLE = 0.01


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ChangedImage:
    """The same voxels in another image.

    Attributes:
        name: What was changed.
        acquisition: The image.
        spheres: The voxels to compare, in the same order in all images.
    """

    name: str
    acquisition: Acquisition
    spheres: Bool[Tensor, "x y z"]


def stability_scores(method: str, estimator: Estimator[Acquisition], watch: Watch) -> tuple[Score, ...]:
    """Return how T1 changes: the most, the share of voxels by over 1 %, and of those lost or won.

    Args:
        method: Name of the method.
        estimator: It must accept the seven inversions.
        watch: Gives a progress report for a label.
    """
    base, *others = changed_images()
    with watch(f"{STABILITY}: {method}") as report:
        first = _t1(estimator, base, report)
        return tuple(
            score
            for other in others
            for score in _compare(method, other, first, _t1(estimator, other, report))
        )


def refusal_of_stability(estimator: Estimator[Acquisition]) -> str | None:
    """Return why a method cannot be checked; None if it can."""
    try:
        estimator.accept(changed_images()[0].acquisition)
    except ProtocolError as error:
        return str(error)
    return None


def changed_images() -> tuple[ChangedImage, ...]:
    """Return the image itself, then the same in other order, in other units, and cut elsewhere."""
    widest = max(MARGINS)
    phantom = plate(widest)
    scan, spheres = phantom_scan(phantom, 0), spheres_of(phantom)[0]

    def cut(name: str, margin: int) -> ChangedImage:
        """Show so many voxels more than usual on every side."""
        away = widest - margin
        inner = slice(away, spheres.shape[0] - away)
        signal = scan.signal[inner, inner].contiguous()
        acquisition = replace(scan, signal=signal, affine=None)
        return ChangedImage(name=name, acquisition=acquisition, spheres=spheres[inner, inner])

    base = cut("itself", 0)
    image = base.acquisition
    turned = replace(
        image, signal=image.signal[..., list(ORDER)].contiguous(), protocol=image.protocol.select(ORDER)
    )
    return (
        base,
        replace(base, name="order of volumes", acquisition=turned),
        *(
            replace(
                base,
                name=f"images times {scale:g}",
                acquisition=replace(image, signal=scale * image.signal),
            )
            for scale in SCALES
        ),
        *(cut(f"cropped by {margin}", -margin) for margin in MARGINS),
        *(cut(f"padded by {margin}", margin) for margin in MARGINS),
    )


def _t1(
    estimator: Estimator[Acquisition], image: ChangedImage, report: Progress
) -> Float[Tensor, " voxels"]:
    return estimator(image.acquisition, report).value("T1")[image.spheres].double()


def _compare(
    method: str, changed: ChangedImage, first: Float[Tensor, " voxels"], second: Float[Tensor, " voxels"]
) -> list[Score]:
    both = torch.isfinite(first) & torch.isfinite(second)
    change = (second[both] / first[both] - 1).abs()
    appeared_or_lost = torch.isfinite(first) != torch.isfinite(second)
    measured = {
        "largest_change": float(change.max()) if len(change) else torch.nan,
        "share_changed": float((change > NOTICEABLE).double().mean()),
        "lost": float(appeared_or_lost.double().mean()),
    }
    subject = ScoreContext(method=method, dataset=STABILITY)
    return [
        subject.score(changed.name, metric, value, int(both.sum())) for metric, value in measured.items()
    ]
