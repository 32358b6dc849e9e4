from pathlib import Path

import pytest

from unweight.core.errors import UsageError
from unweight.files.text_files import write_table


def test_a_table_and_its_absent_values(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.tsv"
    write_table(path, [["01", 1.23456789012, None], ["02", float("nan"), 3]], ["subject", "t1", "n"])
    assert path.read_text() == "subject\tt1\tn\n01\t1.23456789\tn/a\n02\tn/a\t3\n"


@pytest.mark.parametrize("rows", [[["a"]], [["a\tb", 1]], [["a\n", 1]]])
def test_rows_that_would_break_it(tmp_path: Path, rows: list[list[str | int]]) -> None:
    with pytest.raises(UsageError):
        write_table(tmp_path / "a.tsv", rows, ["x", "y"])
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_shown_is_escaped(tmp_path: Path) -> None:
    write_table(tmp_path / "a.tsv", [["a\x1b[31m", "\u202egnp"]], ["x\u200f", "y"])
    assert (tmp_path / "a.tsv").read_text() == "x\\u200f\ty\na\\x1b[31m\t\\u202egnp\n"
