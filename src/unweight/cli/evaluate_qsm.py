"""`unweight evaluate qsm`: stages of susceptibility mapping on simulated heads, or a map of one's own."""

import argparse
from dataclasses import asdict

import torch

from unweight.benchmark.qsm.figures import qsm_figures
from unweight.benchmark.qsm.heads import QSM_SETS, qsm_heads
from unweight.benchmark.qsm.scores import UNITS, pairs, try_head
from unweight.benchmark.qsm.tables import qsm_tables
from unweight.benchmark.t1.tables import TextTable
from unweight.bids.nifti.grid import check_same_grid
from unweight.bids.nifti.label_image import read_label_image
from unweight.bids.nifti.volume import open_volume
from unweight.bids.series.mask import read_mask
from unweight.cli.scored import show, write
from unweight.cli.terminal import console, progress
from unweight.core.errors import InputError, UsageError
from unweight.metrics.scores import Score
from unweight.metrics.susceptibility import slope_through_regions, susceptibility_scores

OWN = ("chi", "truth", "chi_mask")


def run(arguments: argparse.Namespace) -> int:
    """Score a map that was given, or else run, score and draw all methods on simulated heads."""
    given = [name for name in OWN if getattr(arguments, name) is not None]
    if given or arguments.chi_labels is not None:
        return _score_own(arguments, given)
    screen = console(quiet=arguments.quiet)
    chosen = arguments.sets
    sets = QSM_SETS if chosen is None else tuple(name for name in QSM_SETS if name in chosen)
    ways = tuple(arguments.methods or pairs())
    scores: list[Score] = []
    figures: dict[str, bytes] = {}
    for head in qsm_heads(arguments.heads, sets, quick=arguments.quick):
        screen.print(f"{head.name}, {head.dataset}: {len(ways)} ways from images to susceptibility")
        with progress(head.name, quiet=arguments.quiet) as report:
            tried = try_head(head, ways, report)
        scores += tried.scores
        figures |= qsm_figures(tried)
    show(qsm_tables(scores), screen)
    write(arguments.out, scores, figures, screen)
    return 0


def _score_own(arguments: argparse.Namespace, given: list[str]) -> int:
    if len(given) < len(OWN):
        raise UsageError(
            "--chi, --truth and --chi-mask belong together",
            remedy="Give all three; --chi-labels (numbers of the QSM challenge) is optional.",
        )
    chi, truth = (open_volume(getattr(arguments, name)) for name in ("chi", "truth"))
    check_same_grid([chi.grid, truth.grid])
    for volume in (chi, truth):
        if volume.data.ndim != 3:
            raise InputError("is not one volume", remedy="Give one volume.", path=volume.grid.path)
    mask = read_mask(arguments.chi_mask, chi.grid)
    if not bool((mask & torch.isfinite(chi.data) & torch.isfinite(truth.data)).any()):
        raise InputError(
            "the mask holds no voxel in which both maps have a value",
            remedy="Give the mask of these maps.",
            path=arguments.chi_mask,
        )
    labels = None
    if arguments.chi_labels is not None:
        image = read_label_image(arguments.chi_labels)
        check_same_grid([chi.grid, image.grid])
        labels = image.labels
    numbers: dict[str, float] = asdict(susceptibility_scores(chi.data, truth.data, mask, labels))
    if labels is not None:
        agreed = slope_through_regions(chi.data, truth.data, labels, mask)
        numbers |= {"slope": agreed.slope, "r": agreed.correlation, "mae": agreed.mean_absolute_error}
    scores = [
        Score(
            method="given",
            dataset="given",
            group="brain",
            metric=metric,
            value=value,
            n=int(mask.sum()),
            unit=UNITS.get(metric, "1"),
            parameter="Chi",
        )
        for metric, value in numbers.items()
    ]
    screen = console(quiet=arguments.quiet)
    rows = [(one.metric, f"{one.value:.4g}", one.unit) for one in scores]
    show([TextTable(title=arguments.chi.name, columns=("metric", "value", "unit"), rows=rows)], screen)
    write(arguments.out, scores, {}, screen)
    return 0
