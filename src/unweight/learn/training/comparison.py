"""Which of two sets of weights of one network scores better on the same held-out samples."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import final

from unweight.core.errors import UsageError
from unweight.registry import trained_method


@final
@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One score of two sets of weights.

    Attributes:
        score: Name of the score.
        new: Score of the new weights.
        other: Score of the weights they are compared with.
        higher_is_better: Whether larger scores are better.
    """

    score: str
    new: float
    other: float
    higher_is_better: bool

    @property
    def better(self) -> bool:
        """Whether the new weights score better, not only as well."""
        return self.new > self.other if self.higher_is_better else self.new < self.other

    def to_json(self) -> str:
        """Return the comparison as a JSON object."""
        return json.dumps({**asdict(self), "better": self.better}, indent=2) + "\n"

    def __str__(self) -> str:
        verdict = "better than" if self.better else "not better than"
        return f"{self.score} {self.new:.4g}, {verdict} {self.other:.4g} of the other weights"


def comparison(name: str, new: Mapping[str, float], other: Mapping[str, float]) -> Comparison:
    """Compare the scores of two sets of weights by the one that the registry names.

    Args:
        name: Of the weights.
        new: Scores of the new weights.
        other: Scores of the others, on the same samples.

    Raises:
        UsageError: The registry names no score, or one of them lacks it.
    """
    signed = trained_method(name).score
    score = signed[1:]
    if signed[:1] not in ("+", "-") or score not in new or score not in other:
        raise UsageError(f"{name} has no score to compare weights by")
    return Comparison(score=score, new=new[score], other=other[score], higher_is_better=signed[0] == "+")
