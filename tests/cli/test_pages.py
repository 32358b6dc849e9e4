"""The driver of the mapping commands: pages of what was mapped, exit codes, what no voxel has."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from unweight.bids.derivatives.provenance import Provenance
from unweight.cli.mapping import map_all
from unweight.cli.options import MappingOutput, Verbosity
from unweight.core.errors import IncompleteError, InputError
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.mapping.output import OutputSet
from unweight.mapping.series import Feedback, MappedSeries, MappingOptions, SeriesMapper, check_any_value
from unweight.signals.inversion_recovery import T1


@dataclass(frozen=True)
class ToyOptions(MappingOptions[str, str]):
    found: tuple[tuple[str, str], ...]

    def find(self) -> Sequence[tuple[str, str]]:
        return self.found

    def mapper(self) -> "ToyMapper":
        return ToyMapper()


class ToyMapper(SeriesMapper[str, str]):
    def read(self, found: str) -> str:
        if found == "bad":
            raise InputError("is bad", remedy="Mend it.")
        return found

    def output(self, read: str) -> OutputSet:
        return OutputSet(
            entities={"sub": read}, sources=("sha256:00",), root=None, first=T1, voxels=(2, 3, 2)
        )

    def estimate(self, label: str, read: str, feedback: Feedback) -> MappedSeries:
        maps = ParameterMaps(
            specs=(T1,),
            values=torch.ones(2, 3, 2, 1),
            std=torch.ones(2, 3, 2, 1),
            status=torch.zeros(2, 3, 2, dtype=torch.uint8),
            affine=torch.eye(4),
        )
        return MappedSeries(
            label=label,
            maps=maps,
            output=self.output(read),
            provenance=Provenance(sources=("sha256:00",), algorithm="none"),
            heading="toy",
            faults=("a file is missing",) if label == "lacking" else (),
        )


def mapped(out: Path, *found: tuple[str, str], no_report: bool = False) -> int:
    verbosity = Verbosity(quiet=False)
    output = MappingOutput(out=out, no_figures=True, no_report=no_report, verbosity=verbosity)
    return map_all(ToyOptions(found), output)


def test_pages_of_those_that_were_mapped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mapped(tmp_path, ("a", "01"), ("b", "bad"), ("c", "01")) == 1
    assert [path.name for path in tmp_path.glob("*.html")] == ["sub-01.html"]
    assert capsys.readouterr().out.count("sub-01.html") == 1


def test_what_is_incomplete_has_a_page_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mapped(tmp_path, ("lacking", "01")) == 1
    printed = capsys.readouterr()
    assert printed.err == "lacking: mapped, but a file is missing.\n"
    assert printed.out.count("sub-01.html") == 1


def test_no_report(tmp_path: Path) -> None:
    assert mapped(tmp_path, ("a", "01"), no_report=True) == 0
    assert list(tmp_path.glob("*.html")) == []


def test_maps_without_any_value_are_no_success() -> None:
    status = torch.full((2, 3), int(VoxelStatus.NO_SIGNAL), dtype=torch.uint8)
    nothing = torch.full((2, 3, 1), torch.nan)
    maps = ParameterMaps(specs=(T1,), values=nothing, std=nothing, status=status)
    with pytest.raises(
        IncompleteError, match=r"no voxel has a value.*6 voxels: the signal is not above the noise"
    ):
        check_any_value(maps)
    status[0, 0], nothing[0, 0] = VoxelStatus.IMPLAUSIBLE, 1.0
    check_any_value(maps)
