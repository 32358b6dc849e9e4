"""The brain of simulated heads, of heads without a skull, and of a real one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tests.prepare.published import transform_of
from unweight.bids.nifti.volume import Volume, open_volume
from unweight.core.errors import InputError
from unweight.core.weighting import Weighting
from unweight.prepare.brain_mask import find_brain, grown
from unweight.prepare.lattice import PlacedImage, VoxelGrid
from unweight.prepare.resample import resampled, resampled_mask
from unweight.signals.weighted import weighted_signal
from unweight.synth.anatomy.labels import brain_table
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.protocols.standard import mprage, routine_contrasts
from unweight.synth.simulate_weighted import weighting_of
from unweight.synth.tissue.materials import MATERIALS, TISSUES

Head = tuple[dict[str, Tensor], Tensor]
VOXEL = (2.0, 2.0, 2.0)
NOISE = 0.01
SCANS = {scan.name: scan for scan in routine_contrasts()} | {"MPRAGE": mprage()}


def dice(a: Bool[Tensor, "x y z"], b: Bool[Tensor, "x y z"]) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.fixture(scope="module")
def head() -> Head:
    """A whole head, skin to ventricles, under four contrasts with a coil's shading and noise; its brain."""
    generator = torch.Generator().manual_seed(1)
    labels = procedural_head(generator, shape=(91, 109, 91), voxel_mm=VOXEL).labels.long()
    x, y, z = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in labels.shape), indexing="ij")
    shading = 1 + 0.25 * x - 0.2 * y * z + 0.3 * (x**2 + y**2)
    images = {}
    for name, scan in SCANS.items():
        signal = of_materials(weighting_of(scan))[labels] * shading
        noise = NOISE * torch.randn(2, *labels.shape, generator=generator)
        images[name] = ((signal + noise[0]) ** 2 + noise[1] ** 2).sqrt()
    return images, brain_table()[labels] > 0


def of_materials(weighting: Weighting) -> Float[Tensor, " materials"]:
    """The signal of each material."""
    t1, t2, pd = (
        torch.tensor([getattr(TISSUES[name], which)[0] for name in MATERIALS], dtype=torch.float64)
        for which in ("t1", "t2", "pd")
    )
    return weighted_signal(t1, t2, pd, weighting.row()).float()


@pytest.mark.parametrize(
    ("contrasts", "least"),
    [
        (("T1w", "T2w", "FLAIR"), 0.97),
        (("MPRAGE", "T2w", "FLAIR"), 0.97),
        (("MPRAGE", "T2w"), 0.95),
        # CSF is dark in both, and what of it lies around the brain is lost.
        (("MPRAGE", "FLAIR"), 0.9),
        pytest.param(("T1w", "FLAIR"), 0.9, marks=pytest.mark.slow),
        pytest.param(("T1w", "T2w"), 0.95, marks=pytest.mark.slow),
        pytest.param(("T2w", "FLAIR"), 0.95, marks=pytest.mark.slow),
    ],
)
def test_brain_of_a_simulated_head(head: Head, contrasts: tuple[str, ...], least: float) -> None:
    images, truth = head
    assert dice(find_brain([images[name] for name in contrasts], VOXEL), truth) > least


def test_a_brain_without_skull_is_its_own_mask(head: Head) -> None:
    images, truth = head
    stripped = [images[name] * truth for name in ("T1w", "T2w", "FLAIR")]
    assert dice(find_brain(stripped, VOXEL), truth) > 0.99


def test_zeros_around_a_head_do_not_make_it_a_brain(head: Head) -> None:
    images, truth = head
    cut = [images[name].where(images[name] > 5 * NOISE, 0.0) for name in ("T1w", "T2w", "FLAIR")]
    assert dice(find_brain(cut, VOXEL), truth) > 0.95


def test_the_unit_of_an_image_does_not_matter(head: Head) -> None:
    images, _ = head
    slabs = {name: values[:, :, 40:60] for name, values in images.items()}
    plain = find_brain([slabs["T1w"], slabs["T2w"]], VOXEL)
    scaled = find_brain([3e-3 * slabs["T1w"], 700 * slabs["T2w"]], VOXEL)
    assert dice(plain, scaled) > 0.999


def test_the_edge_of_a_slab_is_not_the_surface_of_a_brain(head: Head) -> None:
    """Of thick slices through the middle of a head nothing is lost at the first and the last."""
    images, truth = head
    slab = [images[name][:, :, 40:60] for name in ("T1w", "T2w", "FLAIR")]
    found, brain = find_brain(slab, VOXEL), truth[:, :, 40:60]
    for end in (0, -1):
        assert dice(found[:, :, end], brain[:, :, end]) > 0.9


def test_no_value_is_no_brain(head: Head) -> None:
    images, _ = head
    holed = [images[name][:, :, 40:60].clone() for name in ("T1w", "T2w", "FLAIR")]
    holed[1][:, :, :5] = torch.nan
    assert bool(find_brain(holed, VOXEL)[:, :, 5:].any())


def test_a_margin_is_in_millimetres() -> None:
    mask = torch.zeros(21, 21, 21, dtype=torch.bool)
    mask[10, 10, 10] = True
    wider = grown(mask, 6.0, (1.0, 2.0, 3.0))
    assert int(wider[:, 10, 10].sum()) == 13
    assert int(wider[10, :, 10].sum()) == 7
    assert int(wider[10, 10, :].sum()) == 5


@pytest.mark.parametrize("images", [[], [torch.zeros(20, 20, 20)], [torch.rand(5, 5, 5)]])
def test_where_there_is_no_brain(images: list[Tensor]) -> None:
    with pytest.raises(InputError):
        find_brain(images, VOXEL)


def lattice_of(volume: Volume) -> VoxelGrid:
    x, y, z = volume.grid.shape
    return VoxelGrid(shape=(x, y, z), affine=volume.grid.affine)


@pytest.mark.slow
@pytest.mark.parametrize("study", [1, 2])
@pytest.mark.parametrize(
    "contrasts", [("T1W", "T2W", "FLAIR"), ("T1W", "FLAIR"), ("T2W", "FLAIR"), ("T1W", "T2W")]
)
def test_brain_of_a_patient(
    shared_data: Callable[[str], Path], study: int, contrasts: tuple[str, ...]
) -> None:
    """Against the mask that was published with the images, both brought onto the FLAIR."""
    folder = shared_data("ms_lesjak") / "longitudinal" / "patient01"
    home = open_volume(folder / f"study{study}_FLAIR.nii.gz")
    images = []
    for name in contrasts:
        volume = open_volume(folder / f"study{study}_{name}.nii.gz")
        placed = PlacedImage(values=volume.data.float(), affine=volume.grid.affine)
        moved = None
        if name != "FLAIR":
            moved = transform_of(folder / f"study{study}_{name}_intrastudy_to_FLAIR.txt")
        images.append(resampled(placed, lattice_of(home), moved))
    mask = open_volume(folder / "brainmask.nii.gz")
    common = torch.linalg.inv(transform_of(folder / f"study{study}_FLAIR_to_common_space.txt"))
    truth = resampled_mask(mask.data > 0, lattice_of(mask), lattice_of(home), common)
    assert dice(find_brain(images, lattice_of(home).voxel_mm), truth) > 0.92


def test_stripped_images_of_a_patient_are_taken_as_they_are(shared_data: Callable[[str], Path]) -> None:
    """Splines left values below 0 around them; clamped, they are 0 where the brain is not."""
    folder = shared_data("ms_lesjak") / "cross_sectional_MNI" / "patient07"
    files = [next(folder.glob(f"{name}_*_brain_*.nii.gz")) for name in ("T1", "T2", "FLAIR")]
    images = [open_volume(file).data.float().clamp(min=0) for file in files]
    found = find_brain(images, (1.0, 1.0, 1.0))
    assert dice(found, torch.stack(images).amax(0) > 0) > 0.98
