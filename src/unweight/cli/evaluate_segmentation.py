"""`unweight evaluate segment`: unseen simulated heads, eight contrasts, three resolutions."""

from collections.abc import Iterator

from rich.console import Console

from unweight.benchmark.core.head_images import CONTRASTS
from unweight.benchmark.core.heads import check_heads
from unweight.benchmark.core.methods import built_methods, without_weights
from unweight.benchmark.core.scoring import MetricChoice
from unweight.benchmark.segmentation.cases import RESOLUTIONS, segmentation_cases
from unweight.benchmark.segmentation.scores import METRICS, score_segmentation, segmentation_tables
from unweight.cli.scored import Benchmark, EvaluateOptions, Evaluation, report_missing
from unweight.cli.terminal import progress
from unweight.core.seeding import seeded_generator
from unweight.heads.source import TEST, head_source
from unweight.learn.labelled_heads.store import procedural_heads
from unweight.learn.segmentation.any_contrast import segmented_heads
from unweight.metrics.scores import Score
from unweight.prepare.brain_finder import BrainFinder
from unweight.registry import build, method
from unweight.synth.anatomy.head_parts import LabelledHead, with_parts

FAMILY = "segmentation"
MASK_METHOD = "network"
N_PROCEDURAL = 2
QUICK_CONTRASTS, QUICK_RESOLUTIONS = 2, ("coarse",)


def evaluate_segmentation(options: EvaluateOptions, screen: Console, metrics: MetricChoice) -> Evaluation:
    """Score the methods on heads that no training has seen."""
    if options.methods is None:
        report_missing(without_weights(FAMILY, options.weights), screen)
    segmenters = built_methods(FAMILY, options.methods, options.weights, "segmentation method")
    check_heads(options.heads, FAMILY, segmenters, options.weights)
    finder: BrainFinder = build(method(MASK_METHOD, "mask"))
    resolutions, contrasts = options.chosen(tuple(RESOLUTIONS)), tuple(CONTRASTS)
    if options.quick:
        resolutions = QUICK_RESOLUTIONS if options.sets is None else resolutions
        contrasts = contrasts[:QUICK_CONTRASTS]
    scores: list[Score] = []
    for head in segmented_heads(tuple(_heads(options))):
        n_cases = len(resolutions) * len(contrasts)
        with progress(head.head.subject, quiet=options.quiet) as report:
            for done, case in enumerate(segmentation_cases(head, resolutions, contrasts), start=1):
                for name, segmenter in segmenters.items():
                    scores += score_segmentation(case, name, segmenter, finder, head.head.subject)
                report(done, n_cases)
    wanted = metrics.names or METRICS
    return Evaluation(
        scores=[score for score in scores if score.metric in wanted],
        figures={},
        tables=segmentation_tables(scores, contrasts),
    )


def _heads(options: EvaluateOptions) -> Iterator[LabelledHead]:
    source = head_source(options.heads, procedural_heads(0, {TEST: N_PROCEDURAL}))
    for index, anatomy in enumerate(source.heads(TEST, 1 if options.quick else None)):
        yield with_parts(anatomy, seeded_generator(0, "head parts", TEST, index))


SEGMENTATION = Benchmark(run=evaluate_segmentation, metrics=METRICS, fed=())
