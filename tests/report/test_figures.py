import math
from itertools import pairwise

import pytest
import torch

from unweight.core.maps import PHASE_RESIDUAL, ParameterMaps, VoxelStatus
from unweight.report import figures
from unweight.report.colours import RelaxationNorm, spaced_ticks
from unweight.report.figures import LEAST_SPACE, MOST_TICKS, SphereMark, draw_maps, draw_phantom
from unweight.signals.inversion_recovery import PD, T1, B
from unweight.signals.parameters import CHI

PNG = b"\x89PNG\r\n\x1a\n"


def maps(shape: tuple[int, ...]) -> ParameterMaps:
    values = torch.ones(*shape, 3)
    status = torch.zeros(shape, dtype=torch.uint8)
    status[0] = VoxelStatus.NO_SIGNAL
    values[0] = torch.nan
    return ParameterMaps(
        specs=(T1, PD, B), values=values, std=0.1 * values, status=status, misfit=values[..., 0]
    )


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 1), (8, 9, 12)])
def test_maps_are_drawn_whatever_their_shape(shape: tuple[int, ...]) -> None:
    assert draw_maps(maps(shape), "title").startswith(PNG)


def test_maps_without_any_value_are_drawn() -> None:
    empty = maps((4, 4, 1))
    empty = ParameterMaps(
        specs=empty.specs,
        values=torch.full_like(empty.values, torch.nan),
        std=torch.full_like(empty.std, torch.nan),
        status=torch.full_like(empty.status, int(VoxelStatus.NO_SIGNAL)),
    )
    assert draw_maps(empty, "nothing").startswith(PNG)


def test_phantom_is_drawn_with_failed_spheres() -> None:
    marks = [
        SphereMark(
            number=number,
            centre=(2.0, 3.0, 0.0),
            radius=4.5,
            nominal=1.0,
            mean=math.nan if number == 2 else 1.02,
            sd=0.1,
            status="failed" if number == 2 else "ok",
        )
        for number in (1, 2, 3)
    ]
    assert draw_phantom(maps((8, 9, 1)), marks, "title").startswith(PNG)


def test_same_maps_same_bytes() -> None:
    assert draw_maps(maps((8, 9, 1)), "t") == draw_maps(maps((8, 9, 1)), "t")


def test_susceptibility_is_drawn_with_its_noise_and_the_residual_of_the_phase() -> None:
    values = torch.linspace(-0.1, 0.1, 6 * 7 * 5).reshape(6, 7, 5)
    chi = ParameterMaps(
        specs=(CHI,),
        values=values[..., None],
        std=torch.full((6, 7, 5, 1), 0.004),
        status=torch.zeros(6, 7, 5, dtype=torch.uint8),
        misfit=values.abs(),
        misfit_meaning=PHASE_RESIDUAL,
    )
    titles = [panel.title for panel in figures._panels(chi)]
    assert titles == ["Chi [ppm]", "SD, noise only [ppb]", "Residual of phase [rad]", "Status"]
    assert float(figures._panels(chi)[1].values.mean()) == pytest.approx(4.0)
    assert draw_maps(chi, "title").startswith(PNG)


@pytest.mark.parametrize("highest", [0.12, 0.3, 1.25, 2.0, 3.0, 60.0])
def test_ticks_of_relaxation_are_round_and_apart(highest: float) -> None:
    """The scale is linear to a third of the range, then logarithmic, so that round values crowd."""
    norm = RelaxationNorm(0.0, highest)
    ticks = spaced_ticks(norm, LEAST_SPACE, MOST_TICKS)
    places = [float(norm(tick)) for tick in ticks]
    assert ticks[0] == 0 and 4 <= len(ticks) <= 9
    assert all(later - earlier >= 0.12 for earlier, later in pairwise(places))
    assert highest / 2.5 <= ticks[-1] <= highest
