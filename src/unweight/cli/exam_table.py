"""The table of an exam: each of its images, what it is, and whether `unweight maps` uses it."""

from rich.table import Table

from unweight.bids.exam.choice import ExamChoice, Fitness, UnusedImage
from unweight.cli.terminal import table

COLUMNS = ("image", "contrast", "sequence", "use by maps")


def exam_table(choice: ExamChoice, title: str = "") -> Table:
    """Return the table of an exam.

    Args:
        choice: Of its images.
        title: Of the table.
    """
    rows = [
        (_named(candidate.label, candidate.description), name, candidate.kind.sequence, _use(choice, name))
        for name, candidate in choice.chosen.items()
    ]
    rows += [
        (_named(item.label, item.description), item.contrast or "-", item.sequence, _left_out(item))
        for item in choice.left_out
    ]
    return table(COLUMNS, rows, title)


def options_of_exam(choice: ExamChoice) -> str:
    """Return the options that give what is missing of the chosen images; empty if nothing is."""
    return " ".join(item.options for item in choice.assessments.values() if item.options)


def _use(choice: ExamChoice, name: str) -> str:
    assessment, reason = choice.assessments[name], choice.reasons[name]
    if assessment.fitness is Fitness.READY:
        return f"mapped: {reason}"
    if assessment.options:
        return f"needs {assessment.options}: {assessment.problem}"
    return f"not mapped: {assessment.problem}"


def _left_out(item: UnusedImage) -> str:
    return f"left out: {item.reason}" if item.contrast else f"not used: {item.reason}"


def _named(label: str, description: str) -> str:
    return f'{label} "{description}"' if description and not label.endswith((".nii", ".nii.gz")) else label
