import json
from pathlib import Path

import pytest

from unweight.bids.participants import Participants, read_participants

HEADER = "participant_id\tage\tsex\tsite\n"
PLAIN = HEADER + "sub-01\t31\tF\tx\nsub-03\t64\tM\tx\n"


def read(root: Path, content: str | bytes, *subjects: str) -> Participants:
    (root / "participants.tsv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_participants(root, subjects or ("01", "03"))


def ages(found: Participants) -> dict[str, float | None]:
    return {one.participant_id: one.age for one in found.people}


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        "\ufeff" + PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace("\tx", "\tZürich").encode("latin-1"),
        PLAIN.replace("\tx", "\tŁódź").encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-32"),
        PLAIN.replace("sub-", ""),
        PLAIN.replace("sub-0", ""),
        PLAIN.replace("sub-", "SUB-"),
        PLAIN.replace("participant_id\tage", "Participant ID\tAge"),
        PLAIN.replace("\tage", "\tAge [years]"),
        PLAIN.replace("\t", ","),
        PLAIN.replace("\t", ";").replace("31", "31,0"),
        PLAIN.replace("\t", " "),
        PLAIN.replace("x\n", "x\t\t\n"),
        HEADER + "sub-01\t31\tF\nsub-03\t64\tM\n",
        HEADER + '"sub-01"\t"31"\t"F"\t"a\tb"\nsub-03\t64\tM\tx\n',
        PLAIN.replace("31", "031Y").replace("64", "64 years"),
        PLAIN.replace("F", "female").replace("M", "Male"),
        HEADER + "".join(f"sub-{k:02d}\t{(0, 31, 5, 64)[k % 4]}\t{'MF'[k == 1]}\tx\n" for k in range(30)),
        PLAIN + "sub-01\t31\tn/a\ty\n",
        PLAIN + "\n  \n",
    ],
)  # fmt: skip
def test_what_can_be_meant_in_one_way_is_read(tmp_path: Path, content: str | bytes) -> None:
    found = read(tmp_path, content)
    assert [(one.participant_id, one.age, one.sex) for one in found.people] == [
        *(("01", 31.0, "F"), ("03", 64.0, "M")),
    ]
    assert found.remarks == ()


@pytest.mark.parametrize(
    ("age", "years"),
    [("31,5", 31.5), ("018M", 1.5), ("0365D", 365 / 365.25), ("052W", 364 / 365.25), ("64y", 64.0)],
)
def test_ages_in_other_forms(tmp_path: Path, age: str, years: float) -> None:
    found = read(tmp_path, f"{HEADER}sub-01\t{age}\tF\tx\n")
    assert ages(found)["01"] == pytest.approx(years) and found.remarks == ()


@pytest.mark.parametrize("age", ["n/a", "", "NaN", "N/A", "unknown"])
def test_an_age_that_is_not_given_is_no_remark(tmp_path: Path, age: str) -> None:
    assert read(tmp_path, f"{HEADER}sub-01\t{age}\tn/a\tx\n") == read(tmp_path, f"{HEADER}sub-01\t\t\t\n")


@pytest.mark.parametrize("age", ["30-35", "old", "inf", "-4", "412", "M"])
def test_an_age_that_cannot_be_read_is_named(tmp_path: Path, age: str) -> None:
    found = read(tmp_path, f"{HEADER}sub-01\t{age}\tF\tx\nsub-03\t64\tM\tx\n")
    assert ages(found) == {"01": None, "03": 64.0}
    assert found.remarks == (f"participants.tsv: not read as ages: sub-01 {age!r}",)


@pytest.mark.parametrize(
    ("content", "remark"),
    [
        (HEADER + "sub-01\t31\tF\tx\nsub-03\t\t64\tM\tx\n", "more cells than columns: line 3 (sub-03)"),
        (HEADER + "sub-01\t31\tF\tx\nsub-01\t33\tF\tx\n", "contradictory lines about one subject"),
        (PLAIN.replace("F", "1"), "not read as sexes: sub-01 '1'"),
        (PLAIN.replace("64", "89+"), "ages given as a lower limit, which is used: sub-03 '89+'"),
        (PLAIN.replace("sub-0", "S"), "not about any subject"),
        (PLAIN.replace("participant_id", "who"), "has no column participant_id"),
        ("", "is empty"),
        (b"\xff\xfe\x00", "is not text"),
    ],
)
def test_what_cannot_be_read_is_a_remark(tmp_path: Path, content: str | bytes, remark: str) -> None:
    found = read(tmp_path, content)
    assert len(found.remarks) == 1 and remark in found.remarks[0]


def test_labels_that_could_be_two_subjects_are_not_guessed(tmp_path: Path) -> None:
    found = read(tmp_path, HEADER + "1\t31\tF\tx\n01\t64\tM\tx\n", "01", "001")
    assert ages(found) == {"01": 64.0}
    assert found.remarks == ("participants.tsv: could be one of several subjects: 1 (01, 001)",)


@pytest.mark.parametrize(
    ("units", "years"), [("months", 2.0), ("years", 24.0), ("Year", 24.0), ("decades", None)]
)
def test_the_unit_beside_the_table_counts(tmp_path: Path, units: str, years: float | None) -> None:
    (tmp_path / "participants.json").write_text(json.dumps({"age": {"Units": units}}))
    found = read(tmp_path, HEADER + "sub-01\t24\tF\tx\n")
    assert ages(found) == {"01": years}
    assert ("decades" in "".join(found.remarks)) == (years is None)


def test_a_column_can_name_its_unit(tmp_path: Path) -> None:
    found = read(tmp_path, "participant_id\tage (months)\nsub-01\t30\n")
    assert ages(found) == {"01": 2.5}


def test_a_table_that_is_absent_or_no_file(tmp_path: Path) -> None:
    assert read_participants(tmp_path, ["01"]) == Participants()
    (tmp_path / "participants.tsv").mkdir()
    (remark,) = read_participants(tmp_path, ["01"]).remarks
    assert "cannot be read (Is a directory)" in remark
    (tmp_path / "participants.tsv").rmdir()
    (tmp_path / "participants.tsv").symlink_to("gone")
    assert "is a broken link" in read_participants(tmp_path, ["01"]).remarks[0]
