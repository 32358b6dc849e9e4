"""The filter file of a run, and images that are links out of the tree."""

import json
from pathlib import Path

import pytest

from tests.run.trees import write_study
from unweight.bids.collection import Collection
from unweight.core.errors import InputError
from unweight.run.filter_file import read_filter
from unweight.run.plan import plan_run


def series(suffix: str = "T1w", **entities: str) -> Collection:
    return Collection(root=Path(), entities={"sub": "01", **entities}, suffix=suffix, files={})


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "filter.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ({"session": "02"}, {"ses-02", "both", "run"}),
        ({"ses": ["ses-02", "03"]}, {"ses-02", "both", "run"}),
        ({"acquisition": None}, {"none", "ses-02"}),
        ({"acquisition": "Query.NONE", "session": "*"}, {"ses-02"}),
        ({"acquisition": "*"}, {"both", "run"}),
        ({"acquisition": ["hires", None]}, {"none", "ses-02", "both", "run"}),
        ({"run": 1}, {"run"}),
        ({"datatype": "anat", "suffix": "T1w", "run": "Query.OPTIONAL"}, {"none", "ses-02", "both", "run"}),
    ],
)
def test_queries_are_those_of_fmriprep(tmp_path: Path, query: object, kept: set[str]) -> None:
    chosen = read_filter(written(tmp_path, {"t1w": query}))
    there = {
        "none": series(),
        "ses-02": series(ses="02"),
        "both": series(ses="02", acq="hires"),
        "run": series(ses="02", acq="hires", run="01"),
    }
    assert {name for name, item in there.items() if chosen.keeps(item)} == kept
    assert chosen.keeps(series("FLAIR", acq="other"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"bold": {"session": "1"}}, "'bold', which is not a supported suffix"),
        ({"t1w": {"flavour": "x"}}, "flavour: no entity of a series"),
        ({"t1w": {"session": {"a": 1}}}, "neither text nor a number"),
        ({"t1w": "01"}, "is not an object"),
    ],
)
def test_what_is_not_known_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_filter(written(tmp_path, content))
    assert caught.value.path is not None and caught.value.remedy


def test_a_plan_leaves_out_what_the_filter_excludes(tmp_path: Path) -> None:
    raw = write_study(tmp_path / "bids")
    everything = plan_run(raw, ["t1"])
    nothing = plan_run(raw, ["t1"], series_filter=read_filter(written(tmp_path, {"IRT1": {"acq": "no"}})))
    assert everything.tasks and not nothing.tasks
    assert any("filter file excludes" in refusal.reason for refusal in nothing.refusals)


def test_links_out_of_the_tree_are_followed_only_when_allowed(tmp_path: Path) -> None:
    raw = write_study(tmp_path / "bids")
    before = plan_run(raw, ["t1"])
    step = before.steps[0]
    elsewhere = tmp_path / "store"
    elsewhere.mkdir()
    for path in (raw / name for name in step.inputs[""]):
        path.rename(elsewhere / path.name)
        path.symlink_to(elsewhere / path.name)
    refused = plan_run(raw, ["t1"])
    assert step.name not in {item.name for item in refused.steps}
    assert any("points outside the dataset" in item.reason for item in refused.refusals)
    assert plan_run(raw, ["t1"], follow_links=True).steps == before.steps
