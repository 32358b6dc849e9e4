import io

import pytest
import torch
from rich.console import Console

from unweight.cli.terminal import course, progress, table
from unweight.core.maps import ParameterMaps, VoxelStatus, assemble_maps
from unweight.core.protocol import protocol_from_values
from unweight.mapping.series import low_share, status_rows
from unweight.mapping.t1 import repetition_of
from unweight.signals.parameters import T1


def of_status(*status: VoxelStatus) -> ParameterMaps:
    codes = torch.tensor([int(code) for code in status], dtype=torch.uint8)
    values = torch.ones(len(status), 1)
    return assemble_maps((T1,), values, 0.1 * values, codes, like=values)


def test_numbers_are_never_cut_at_80_columns() -> None:
    rows = [("out of range", "123,456,789", "12.34 %", "a long meaning " * 8)]
    file = io.StringIO()
    screen = Console(file=file, width=80, color_system=None)
    screen.print(table(("voxels", "count", "share", "meaning"), rows))
    shown = file.getvalue()
    assert "123,456,789" in shown and "12.34 %" in shown
    assert shown.count("meaning") == 1 + 8 and "…" not in shown
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_shares_are_of_the_voxels_with_signal() -> None:
    maps = of_status(*[VoxelStatus.MASKED] * 6, VoxelStatus.OK, VoxelStatus.OUT_OF_RANGE)
    shares = {name: share for name, _, share, _ in status_rows(maps)}
    assert shares == {"ok": "50.00 %", "masked": "", "out of range": "50.00 %"}
    assert low_share(maps) == ""
    poor = of_status(VoxelStatus.MASKED, VoxelStatus.OK, *[VoxelStatus.OUT_OF_RANGE] * 3)
    assert low_share(poor) == "only 25 % of the voxels with signal are usable"
    assert low_share(of_status(VoxelStatus.MASKED)) == "only 0 % of the voxels with signal are usable"


def test_repetition_times_are_named() -> None:
    times = [0.1, 0.5, 2.0]
    assert repetition_of(protocol_from_values(inversion_time=times)) == "TR unknown"
    equal = protocol_from_values(inversion_time=times, repetition_time=[2.55] * 3)
    assert repetition_of(equal) == "TR 2.55 s"
    rising = protocol_from_values(inversion_time=times, repetition_time=[2.0, 2.5, 4.0])
    assert repetition_of(rising) == "TR 2 to 4 s"


def test_without_a_terminal_a_line_is_printed_every_half_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 0.0, 10.0, 31.0, 50.0, 62.0, 100.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with progress("sub-01", quiet=False) as report:
        for done in (10, 31, 50, 62, 100):
            report(done, 100)
    assert capsys.readouterr().err == "sub-01: 31 % after 31 s\nsub-01: 62 % after 62 s\n"


def test_quiet_work_prints_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unweight.cli.terminal.EVERY", 0.0)
    with progress("sub-01", quiet=True) as report:
        report(1, 2)
    with course(quiet=True) as displayed:
        displayed.bar("slabs")(1, 2)
    shown = capsys.readouterr()
    assert shown.err == shown.out == ""
