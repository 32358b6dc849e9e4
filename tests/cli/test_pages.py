import argparse
from pathlib import Path

import pytest
import torch

from tests.cli.test_report import out  # noqa: F401 (a fixture)
from unweight.cli.pages import Mapped, check_any_value, each_with_page
from unweight.cli.terminal import console
from unweight.core.errors import IncompleteError, InputError
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.signals.inversion_recovery import T1


def arguments(folder: Path, *, no_report: bool = False) -> argparse.Namespace:
    return argparse.Namespace(out=folder, no_report=no_report, debug=False)


def subject_of(label: str, thing: str) -> Mapped:
    if thing == "bad":
        raise InputError("is bad", remedy="Mend it.")
    return Mapped(subject=thing, faults=("a file is missing",) if label == "lacking" else ())


def test_pages_of_those_that_were_mapped(out: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    found = [("a", "01"), ("b", "bad"), ("c", "01")]
    assert each_with_page(found, subject_of, arguments(out), console()) == 1
    assert [path.name for path in out.glob("*.html")] == ["sub-01.html"]
    assert capsys.readouterr().out.count("sub-01.html") == 1


def test_what_is_incomplete_has_a_page_and_exit_code_1(
    out: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert each_with_page([("lacking", "01")], subject_of, arguments(out), console()) == 1
    said = capsys.readouterr()
    assert said.err == "lacking: mapped, but a file is missing.\n"
    assert said.out.count("sub-01.html") == 1


def test_maps_without_any_value_are_no_success() -> None:
    status = torch.full((2, 3), int(VoxelStatus.NO_SIGNAL), dtype=torch.uint8)
    nothing = torch.full((2, 3, 1), torch.nan)
    maps = ParameterMaps(specs=(T1,), values=nothing, std=nothing, status=status)
    with pytest.raises(IncompleteError, match=r"no voxel has a value.*6 voxels: the signal does not rise"):
        check_any_value(maps)
    status[0, 0], nothing[0, 0] = VoxelStatus.IMPLAUSIBLE, 1.0
    check_any_value(maps)


def test_no_report(out: Path) -> None:  # noqa: F811
    assert each_with_page([("a", "01")], subject_of, arguments(out, no_report=True), console()) == 0
    assert list(out.glob("*.html")) == []
