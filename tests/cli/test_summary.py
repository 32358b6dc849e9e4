import json
from pathlib import Path

from unweight.cli.summary import Summary
from unweight.core.errors import InputError


def test_series_that_fail_alike_are_all_listed_and_the_call_once() -> None:
    summary = Summary(command="t1", out=Path("maps"))
    for label in ("sub-01", "sub-02"):
        summary.fail(label, InputError("is damaged"))
    summary.fail("", InputError("is damaged"))
    failed = json.loads(summary.text(1))["failed"]
    assert [item["label"] for item in failed] == ["sub-01", "sub-02"]


def test_a_failure_of_the_call_alone_has_no_label() -> None:
    summary = Summary(command="t1", out=Path("maps"))
    summary.fail("", KeyboardInterrupt())
    assert json.loads(summary.text(130))["failed"] == [{"label": "", "error": "KeyboardInterrupt"}]
