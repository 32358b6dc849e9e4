import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.bids.files import write_nifti
from unweight.bids.read import read_complex
from unweight.bids.series.overrides import ProtocolOverrides
from unweight.bids.series.phase import PhaseScaling, phase_in_radians, slices_turned_back
from unweight.bids.sidecar import Sidecar
from unweight.core.errors import InputError, UsageError
from unweight.core.seeding import seeded_generator

TURNS = torch.linspace(-0.49, 0.49, 101).reshape(101, 1)
RADIANS = TURNS * 2 * math.pi
PLAIN = Sidecar(image=Path("p.nii"))


def test_known_ranges_become_radians() -> None:
    for values in (RADIANS, RADIANS * 1000, TURNS * 8192, TURNS * 4096 + 2048):
        torch.testing.assert_close(phase_in_radians(values, PLAIN).phase, RADIANS)


def test_radians_that_are_told_are_believed_unless_impossible() -> None:
    told = Sidecar(image=Path("p.nii"), fields={"Units": "rad"})
    torch.testing.assert_close(phase_in_radians(RADIANS * 0.1, told).phase, RADIANS * 0.1)
    with pytest.raises(InputError, match="values range from"):
        phase_in_radians(TURNS * 8192, told)


def test_other_ranges_are_refused() -> None:
    for values in (RADIANS * 0.001, RADIANS * 100):
        with pytest.raises(InputError, match="scaling of this phase image is unknown"):
            phase_in_radians(values, PLAIN)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (RADIANS, "radians"),
        (RADIANS + math.pi, "radians from 0 to 2π"),
        (1000 * RADIANS, "milliradians, as Philips writes"),
        (TURNS * 8192, "Siemens integers, -4096 to 4094"),
        (TURNS * 4096 + 2048, "Siemens integers, 0 to 4095"),
    ],
)
def test_what_was_recognised_is_said(values: torch.Tensor, name: str) -> None:
    note = phase_in_radians(values, PLAIN).note
    assert f"taken for {name}" in note
    assert f"from {float(values.min()):g} to {float(values.max()):g}" in note


def test_exact_zero_and_half_a_turn_stay_as_they_are() -> None:
    exact = torch.tensor([-math.pi, 0.0, math.pi, -0.0, 1.0]).reshape(5, 1)
    assert torch.equal(phase_in_radians(exact, PLAIN).phase, exact)
    siemens = torch.tensor([0.0, 2048.0, 4096.0, 2048.0, 1024.0]).reshape(5, 1)
    expected = torch.tensor([-math.pi, 0.0, math.pi, 0.0, -math.pi / 2]).reshape(5, 1)
    assert torch.equal(phase_in_radians(siemens, PLAIN).phase, expected)


def test_values_that_are_not_finite_do_not_count_for_the_range() -> None:
    lost = torch.cat([RADIANS, torch.tensor([[math.nan], [math.inf]])])
    read = phase_in_radians(lost, PLAIN).phase
    assert torch.equal(read[:-2], RADIANS)


def test_what_the_caller_says_wins() -> None:
    given = PhaseScaling(turn=(0.0, 10.0))
    read = phase_in_radians(TURNS * 10 + 5, PLAIN, given)
    torch.testing.assert_close(read.phase, RADIANS)
    assert read.note == "phase: 0 to 10 used as a full cycle, as given"
    whole = phase_in_radians(torch.tensor([[3.0], [5.0], [7.0]]), PLAIN, PhaseScaling(whole_range=True))
    torch.testing.assert_close(whole.phase, torch.tensor([[-math.pi], [0.0], [math.pi]]))


def test_inverted_phase_is_inverted_however_it_was_recognised() -> None:
    told = Sidecar(image=Path("p.nii"), fields={"Units": "rad"})
    for sidecar, turn in ((PLAIN, None), (told, None), (PLAIN, (-math.pi, math.pi))):
        read = phase_in_radians(RADIANS, sidecar, PhaseScaling(turn=turn, inverted=True))
        torch.testing.assert_close(read.phase, -RADIANS)
        assert read.note.endswith("and inverted")


def test_impossible_words_of_the_caller_are_refused() -> None:
    with pytest.raises(UsageError, match="--phase-range: 2 is not less than 1"):
        PhaseScaling(turn=(2.0, 1.0))
    with pytest.raises(UsageError, match="cannot be combined"):
        PhaseScaling(turn=(1.0, 2.0), whole_range=True)
    with pytest.raises(InputError, match="the phase is 3 in every voxel"):
        phase_in_radians(torch.full((4, 1), 3.0), PLAIN, PhaseScaling(whole_range=True))


def volumes() -> torch.Tensor:
    x = torch.linspace(0, 2, 6)
    angle = x[:, None, None] + x[None, :, None] + 0.3 * x[None, None, :]
    return torch.polar(torch.ones(6, 6, 6), angle)[..., None].expand(6, 6, 6, 2)


def test_slices_that_oppose_each_other_are_turned_back() -> None:
    sign = 1 - 2 * (torch.arange(6) % 2)
    signal, note = slices_turned_back(volumes() * sign[:, None])
    torch.testing.assert_close(signal, volumes())
    assert note is not None and "alternate slices" in note


def test_other_slices_are_left_alone() -> None:
    parts = torch.randn((2, 6, 6, 6, 2), generator=seeded_generator(1, "phase"))
    noise = torch.complex(parts[0], parts[1])
    for signal in (volumes(), noise, torch.zeros_like(noise), volumes()[:, :, :3]):
        same, note = slices_turned_back(signal)
        assert torch.equal(same, signal)
        assert note is None


def test_reading_files_changes_no_phase(tmp_path: Path) -> None:
    """As int16, as Siemens writes."""
    stored = np.resize(np.array([0, 1024, 2048, 3072, 4095], np.int16), (6, 5, 4))
    phase = write_nifti(tmp_path / "p.nii", stored, {"EchoTime": 0.01})
    magnitude = write_nifti(tmp_path / "m.nii", np.full((6, 5, 4), 2, np.float32), {"EchoTime": 0.01})
    read = read_complex([magnitude], [phase])
    again = read_complex([magnitude], [phase])
    assert torch.equal(read.acquisition.signal, again.acquisition.signal)
    expected = (torch.from_numpy(stored).float() - 2048) * (2 * math.pi / 4096)
    signal = torch.polar(torch.full_like(expected, 2), expected)[..., None]
    assert torch.equal(read.acquisition.signal, signal)
    assert any("Siemens integers, 0 to 4095" in note for note in read.notes)
    turned = read_complex([magnitude], [phase], ProtocolOverrides(phase=PhaseScaling(inverted=True)))
    assert torch.equal(turned.acquisition.signal, signal.conj().resolve_conj())
