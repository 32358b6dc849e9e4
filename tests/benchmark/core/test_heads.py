from pathlib import Path

import pytest

from tests.run.untrained import write_untrained
from unweight.benchmark.core.heads import check_no_training_overlap
from unweight.core.errors import UsageError


def test_heads_on_the_card_are_refused(tmp_path: Path) -> None:
    write_untrained(tmp_path, ("t1-posterior",), trained_on="Slabs of 2 heads (brainweb04, brainweb18).")
    stored = {"posterior": "t1-posterior"}
    check_no_training_overlap(("brainweb1", "brainweb41", "brainweb8"), stored, tmp_path)
    check_no_training_overlap(("brainweb18",), {}, tmp_path)
    with pytest.raises(
        UsageError, match=r"posterior was trained or calibrated on brainweb04.*--brainweb-dir"
    ):
        check_no_training_overlap(("brainweb04", "brainweb43"), stored, tmp_path)
