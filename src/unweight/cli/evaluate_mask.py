"""`unweight evaluate mask`: brain masks of unseen simulated heads, eight contrasts, three resolutions."""

from collections.abc import Iterator

from rich.console import Console

from unweight.benchmark.core.head_images import CONTRASTS
from unweight.benchmark.core.heads import check_heads
from unweight.benchmark.core.methods import built_methods, without_weights
from unweight.benchmark.core.scoring import MetricChoice
from unweight.benchmark.mask.cases import RESOLUTIONS, mask_cases
from unweight.benchmark.mask.scores import METRICS, mask_tables, score_case
from unweight.cli.scored import Benchmark, EvaluateOptions, Evaluation, report_missing
from unweight.cli.terminal import progress
from unweight.core.seeding import seeded_generator
from unweight.heads.source import TEST, head_source
from unweight.learn.labelled_heads.store import procedural_heads
from unweight.metrics.scores import Score
from unweight.prepare.brain_finder import BrainFinder
from unweight.synth.anatomy.head_parts import LabelledHead, with_parts

FAMILY = "mask"
N_PROCEDURAL = 2
QUICK_CONTRASTS, QUICK_RESOLUTIONS = 2, ("coarse",)


def evaluate_mask(options: EvaluateOptions, screen: Console, metrics: MetricChoice) -> Evaluation:
    """Compare the methods on heads that no training has seen."""
    finders = _finders(options, screen)
    resolutions = options.chosen(tuple(RESOLUTIONS))
    contrasts = tuple(CONTRASTS)
    if options.quick:
        resolutions = QUICK_RESOLUTIONS if options.sets is None else resolutions
        contrasts = contrasts[:QUICK_CONTRASTS]
    scores: list[Score] = []
    for head in _heads(options):
        n_cases = len(resolutions) * len(contrasts)
        with progress(head.subject, quiet=options.quiet) as report:
            for done, case in enumerate(mask_cases(head, resolutions, contrasts), start=1):
                for name, finder in finders.items():
                    scores += score_case(case, name, finder, head.subject)
                report(done, n_cases)
    tables = mask_tables(scores, contrasts)
    wanted = metrics.names or METRICS
    return Evaluation(
        scores=[score for score in scores if score.metric in wanted], figures={}, tables=tables
    )


def _finders(options: EvaluateOptions, screen: Console) -> dict[str, BrainFinder]:
    """Return the methods asked for; if none was, those without weights are named and left out."""
    if options.methods is None:
        report_missing(without_weights(FAMILY, options.weights), screen)
    finders: dict[str, BrainFinder] = built_methods(FAMILY, options.methods, options.weights, "mask method")
    check_heads(options.heads, FAMILY, finders, options.weights)
    return finders


def _heads(options: EvaluateOptions) -> Iterator[LabelledHead]:
    source = head_source(options.heads, procedural_heads(0, {TEST: N_PROCEDURAL}))
    for index, anatomy in enumerate(source.heads(TEST, 1 if options.quick else None)):
        yield with_parts(anatomy, seeded_generator(0, "head parts", TEST, index))


MASK = Benchmark(run=evaluate_mask, metrics=METRICS, fed=())
