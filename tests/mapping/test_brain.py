from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor

import unweight
from tests.learn.brain_mask.test_method import tiny
from unweight.benchmark.mask.cases import MaskCase, mask_cases
from unweight.benchmark.mask.scores import mask_numbers
from unweight.bids.read import Series
from unweight.cli.main import main
from unweight.core.acquisition import SignalKind
from unweight.core.errors import InputError, UsageError
from unweight.core.maps import VoxelStatus
from unweight.core.seeding import seeded_generator
from unweight.learn.brain_mask.finder import NetworkBrain
from unweight.learn.labelled_heads.store import procedural_heads
from unweight.learn.training.model_card import CardText
from unweight.learn.training.trainable import Assessment, new_network
from unweight.learn.training.trainer import card_of
from unweight.learn.training.weights import save_weights
from unweight.mapping.arrays import series_of_array
from unweight.mapping.brain import FAMILY, MaskOptions, with_brain_mask
from unweight.prepare.brain_finder import ClassicalBrain
from unweight.registry import offered
from unweight.synth.anatomy.head_parts import with_parts

TIMES = (0.1, 0.6, 1.2, 2.5)
NETWORK = MaskOptions(mask_method="network", mask_border=2.0, mask_weights=Path("weights"))


def test_the_network_is_the_default() -> None:
    assert isinstance(MaskOptions().finder(), NetworkBrain)
    assert isinstance(MaskOptions(mask_method="classical").finder(), ClassicalBrain)
    assert set(offered(FAMILY)) == {"classical", "network"}


def test_border_and_weights_reach_the_network(tmp_path: Path) -> None:
    text = CardText(summary="a", intended_use="b", limits="c", trained_on="d", ranges={})
    card = card_of(tiny(), text, Assessment(calibration={}, metrics={"dice": 0.5}))
    network = new_network(tiny())
    with torch.no_grad():
        network.get_parameter("head.weight").fill_(0.25)
    save_weights(tmp_path, network.state_dict(), card)
    finder = replace(NETWORK, mask_weights=tmp_path).finder()
    assert isinstance(finder, NetworkBrain)
    assert finder.border_mm == 2.0
    assert float(finder.network.get_parameter("head.weight").detach().mean()) == 0.25


def test_a_folder_without_the_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="brain-mask"):
        replace(NETWORK, mask_weights=tmp_path).finder()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"mask_method": "magic"}, "magic"),
        ({"mask_method": "classical", "mask_border": 2.0}, "--mask-border"),
        ({"mask_method": "classical", "mask_weights": Path("weights")}, "--mask-weights"),
        (
            {"mask_method": "network", "mask_border": 50.0, "mask_weights": Path("weights")},
            "--mask-border 50",
        ),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        MaskOptions(**options)  # type: ignore[arg-type]  # a wrong name is what is tested


@pytest.fixture(scope="module")
def case() -> MaskCase:
    """The contrast of a spin echo, in voxels of 2 mm, with the eyes and the neck in the image."""
    head = with_parts(procedural_heads(5, {"test": 1}).read("test", 0), seeded_generator(5, "head parts"))
    (result,) = mask_cases(head, ("coarse",), ("T1w spin echo",))
    return result


def test_the_network_of_the_package_finds_a_simulated_brain(case: MaskCase) -> None:
    brain = MaskOptions().finder().in_images([case.image], case.affine)
    assert mask_numbers(brain.mask, case)["dice"] > 0.9
    assert not brain.remarks


def recovery(image: Tensor, affine: Tensor | None) -> Series:
    """Four volumes of an inversion recovery with T1 of 1 s, where there is anything."""
    times = torch.tensor(TIMES)
    signal = image[..., None] * (1 - 2 * torch.exp(-times))
    return series_of_array(
        signal,
        {"inversion_time": TIMES, "repetition_time": 10.0},
        suffix="IRT1",
        kind=SignalKind.SIGNED,
        affine=affine,
    )


def test_auto_masks_the_brain_of_a_series(case: MaskCase) -> None:
    series = with_brain_mask(recovery(case.image, case.affine))
    mask = series.acquisition.mask
    assert mask is not None
    assert mask_numbers(mask, case)["dice"] > 0.9
    (note,) = series.notes
    assert note.startswith("the brain was segmented by a network")


def test_auto_needs_a_brain_and_the_size_of_its_voxels(case: MaskCase) -> None:
    with pytest.raises(InputError, match="voxel size"):
        with_brain_mask(recovery(case.image, None))
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, 40)] * 3, indexing="ij")
    ball = ((x**2 + y**2 + z**2) < 0.3) + 0.02 * torch.rand(
        x.shape, generator=torch.Generator().manual_seed(0)
    )
    with pytest.raises(InputError, match="unlike a brain"):
        with_brain_mask(recovery(ball, torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))))


def test_auto_reaches_the_mappers_of_voxels(case: MaskCase, tmp_path: Path) -> None:
    """By the file of the command as by the argument of the function, the same voxels have a value."""
    series = recovery(case.image, case.affine)
    arrays = unweight.map_t1(
        series.acquisition.signal,
        inversion_time=TIMES,
        repetition_time=10.0,
        affine=case.affine,
        mask="auto",
        method="ml",
    )
    path = tmp_path / "ir.nii"
    affine = np.asarray(case.affine)
    nib.save(nib.nifti1.Nifti1Image(series.acquisition.signal.numpy(), affine), path)
    words = ["t1", str(path), "--ti", *map(str, TIMES), "--tr", "10", "--signed", "--mask", "auto"]
    assert (
        main([*words, "--method", "ml", "-o", str(tmp_path / "out"), "--no-report", "--no-figures", "-q"])
        == 0
    )
    (status,) = (tmp_path / "out").rglob("*desc-status_dseg.nii*")
    masked = np.asarray(nib.load(status).dataobj) == int(VoxelStatus.MASKED)  # type: ignore[attr-defined]
    of_array = arrays.maps.status.numpy() == int(VoxelStatus.MASKED)
    assert 0.5 < of_array.mean() < 0.95
    assert (masked == of_array).mean() > 0.999


def test_a_border_does_not_go_with_a_mask_that_is_given() -> None:
    with pytest.raises(UsageError, match="cannot be combined"):
        NETWORK.check(Path("mask.nii.gz"))
    NETWORK.check(None)
