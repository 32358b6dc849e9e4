import hashlib
import json
from pathlib import Path

import pytest

from tests.bids.files import write_bids_series
from tests.bids.validator import validator_errors
from unweight.bids.derivatives.dataset import prepare_derivatives, prepare_raw
from unweight.core.errors import OutputError


def test_a_derivative_dataset_is_described_and_linked(tmp_path: Path) -> None:
    write_bids_series(tmp_path)
    out = tmp_path / "derivatives" / "unweight"
    for _ in range(2):
        prepare_derivatives(out, tmp_path, ["*.html"], "text")
        prepare_derivatives(out, None, ["logs"], "other text")
    described = json.loads((out / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert described["DatasetLinks"] == {"raw": "../.."}
    assert str(tmp_path) not in json.dumps(described)
    assert (out / ".bidsignore").read_text() == "*.html\nlogs\n"
    assert (out / "README.md").read_text() == "text"


def test_what_is_unchanged_is_not_written_again(tmp_path: Path) -> None:
    prepare_raw(tmp_path, "Images", "text")
    before = (tmp_path / "dataset_description.json").stat().st_ino
    prepare_raw(tmp_path, "Images", "text")
    assert (tmp_path / "dataset_description.json").stat().st_ino == before


def test_the_dataset_of_another_is_left_alone(tmp_path: Path) -> None:
    write_bids_series(tmp_path)
    before = (tmp_path / "dataset_description.json").read_bytes()
    with pytest.raises(OutputError, match="describes another dataset"):
        prepare_derivatives(tmp_path, None, [], "text")
    with pytest.raises(OutputError, match="describes another dataset"):
        prepare_raw(tmp_path, "Images", "text")
    assert (tmp_path / "dataset_description.json").read_bytes() == before
    (tmp_path / "dataset_description.json").write_text("{")
    with pytest.raises(OutputError, match="not valid JSON"):
        prepare_raw(tmp_path, "Images", "text")
    (tmp_path / "dataset_description.json").unlink()
    with pytest.raises(OutputError, match="no dataset description"):
        prepare_raw(tmp_path, "Images", "text")


def described(out: Path) -> dict[str, object]:
    return json.loads((out / "dataset_description.json").read_text())


def raw_with(root: Path, **fields: object) -> Path:
    root.mkdir(parents=True)
    content = {"Name": "x", "BIDSVersion": "1.10.0", **fields}
    (root / "dataset_description.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize(
    "doi", ["doi:10.18112/openneuro.ds1.v1", "https://doi.org/10.18112/openneuro.ds1.v1"]
)
def test_a_raw_dataset_with_a_doi_is_named_by_it(tmp_path: Path, doi: str) -> None:
    raw = raw_with(tmp_path / "Jane Doe" / "raw", DatasetDOI=doi, Authors=["A. Author", "B. Author"])
    prepare_derivatives(tmp_path / "out", raw, [], "text")
    found = described(tmp_path / "out")
    assert found["DatasetLinks"] == {"raw": "doi:10.18112/openneuro.ds1.v1"}
    assert found["SourceDatasets"] == [{"DOI": "doi:10.18112/openneuro.ds1.v1"}]
    assert found["Authors"] == ["A. Author", "B. Author"]


def test_a_raw_dataset_without_a_doi_is_known_by_its_content_and_names_nobody(tmp_path: Path) -> None:
    """Each BIDS URI needs a link, and the way there passes through the name of a person."""
    raw = raw_with(tmp_path / "Jane Doe" / "raw")
    digest = hashlib.sha256((raw / "dataset_description.json").read_bytes()).hexdigest()
    prepare_derivatives(tmp_path / "out", raw, [], "text")
    found = described(tmp_path / "out")
    assert found["DatasetLinks"] == {"raw": f"hash://sha256/{digest}"}
    assert found["SourceDatasets"] == [{"URL": f"hash://sha256/{digest}"}]
    assert (
        "Authors" not in found and "Doe" not in json.dumps(found) and str(tmp_path) not in json.dumps(found)
    )


def test_what_a_user_wrote_stays(tmp_path: Path) -> None:
    raw, out = raw_with(tmp_path / "raw", Authors=["A"]), tmp_path / "derivatives"
    prepare_derivatives(out, raw, [], "text")
    own = {"Name": "Mine", "Authors": ["Me"], "License": "CC0", "DatasetLinks": {"atlas": "doi:10.1234/a"}}
    maker = {"Name": "other", "Version": "2"}
    content = described(out) | own
    content["GeneratedBy"] = [*content["GeneratedBy"], maker]  # type: ignore[misc]
    (out / "dataset_description.json").write_text(json.dumps(content))
    prepare_derivatives(out, raw, [], "text")
    found = described(out)
    assert [found[name] for name in ("Name", "Authors", "License")] == ["Mine", ["Me"], "CC0"]
    assert found["DatasetLinks"] == {"atlas": "doi:10.1234/a", "raw": "../raw"}
    assert found["GeneratedBy"][1:] == [maker]  # type: ignore[index]


def test_validators_accept_the_description(tmp_path: Path) -> None:
    raw = raw_with(tmp_path / "Jane Doe" / "raw", Authors=["A"])
    prepare_derivatives(tmp_path / "out", raw, [], "text")
    assert not [one for one in validator_errors(tmp_path / "out") if "dataset_description" in one]
