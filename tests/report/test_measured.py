from pathlib import Path

from unweight.report.measured import measured_in


def test_tables_are_known_by_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "sub-01_acq-a_desc-plate5_phantom.tsv"
    path.write_text("sphere\tt1_nominal_s\tt1_mean_s\tx_mm\n1\t1.8838\t1.90364\t3\n2\t1.33\tn/a\t4\n")
    table = measured_in(path)
    assert table is not None
    assert (table.kind, table.entities["acq"]) == ("phantom", "a")
    assert table.columns == ("sphere", "nominal T1 [s]", "T1 [s]")
    assert table.rows == (("1", "1.88", "1.9"), ("2", "1.33", "–"))


def test_other_tables_are_none(tmp_path: Path) -> None:
    path = tmp_path / "sub-01_desc-status_dseg.tsv"
    path.write_text("index\tname\n0\tOK\n")
    assert measured_in(path) is None
