"""An image that was made, not measured: it is named so, and 0 where programs know no NaN."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from tests.bids.maps import AFFINE, made_up_maps
from tests.bids.validator import validator_errors
from unweight.bids.derivatives.description import derived_images
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.write import is_complete, sources_of, write_maps
from unweight.bids.nifti.volume import open_volume
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.parameter import ParameterSpec
from unweight.mapping.mprage import made_beside

ENTITIES = {"sub": "01", "ses": "a"}
MADE = Provenance(sources=("e1.nii.gz", "e2.nii.gz"), algorithm="A network")
SPEC = ParameterSpec(
    name="T1w",
    unit="arbitrary",
    lower=0.0,
    upper=2.0,
    suffix="T1w",
    description="An image that was made",
    desc="synth",
    zero_filled=True,
)
INSIDE = torch.zeros(6, 5, 4, dtype=torch.bool)
INSIDE[1:-1, 1:-1] = True


def image(n_draws: int = 0, *, desc: str = "synth") -> ParameterMaps:
    values = torch.rand(6, 5, 4, 1, generator=torch.Generator().manual_seed(1)) + 0.5
    values[~INSIDE] = torch.nan
    drawn = torch.stack([values + number for number in range(1, n_draws + 1)]) if n_draws else None
    return ParameterMaps(
        specs=(dataclasses.replace(SPEC, desc=desc, zero_filled=bool(desc)),),
        values=values,
        std=0.1 * values,
        status=torch.where(INSIDE, int(VoxelStatus.OK), int(VoxelStatus.MASKED)).to(torch.uint8),
        draws=drawn,
        affine=AFFINE,
    )


def folder(root: Path) -> Path:
    return root / "sub-01" / "ses-a" / "anat"


def test_names_say_that_it_was_made(tmp_path: Path) -> None:
    written = write_maps(image(), tmp_path, ENTITIES, MADE)
    assert {key: path.name for key, path in written.images.items()} == {
        "T1w": "sub-01_ses-a_desc-synth_T1w.nii.gz",
        "T1w std": "sub-01_ses-a_desc-std_T1w.nii.gz",
        "status": "sub-01_ses-a_desc-T1wstatus_dseg.nii.gz",
        "invalid": "sub-01_ses-a_desc-T1winvalid_mask.nii.gz",
    }
    assert written.sidecar == folder(tmp_path) / "sub-01_ses-a_desc-synth_T1w.json"
    told = json.loads(written.sidecar.read_text())
    assert (told["Description"], told["Units"]) == ("An image that was made", "arbitrary")
    assert set(told["unweight"]["SHA256"]) == {path.name for path in written.images.values()}
    # Nothing in the folder could be taken for a measured image.
    assert not (folder(tmp_path) / "sub-01_ses-a_T1w.nii.gz").exists()


def test_an_image_is_0_outside_and_its_sd_is_unknown_there(tmp_path: Path) -> None:
    maps = image()
    written = write_maps(maps, tmp_path, ENTITIES, MADE)
    made, sd = (open_volume(written.images[key]).data for key in ("T1w", "T1w std"))
    torch.testing.assert_close(made[INSIDE], maps.value("T1w")[INSIDE], rtol=0, atol=0)
    assert bool((made[~INSIDE] == 0).all())
    torch.testing.assert_close(sd, maps.deviation("T1w"), equal_nan=True, rtol=0, atol=0)
    assert bool(sd[~INSIDE].isnan().all())


def test_a_map_stays_nan_where_it_has_no_value(tmp_path: Path) -> None:
    """Only what is called an image is filled."""
    written = write_maps(image(desc=""), tmp_path, ENTITIES, MADE)
    assert written.images["T1w"].name == "sub-01_ses-a_T1w.nii.gz"
    assert bool(open_volume(written.images["T1w"]).data[~INSIDE].isnan().all())
    assert [one.desc for one in derived_images(made_up_maps()) if one.key == "T1"] == [""]


def test_a_set_is_asked_for_by_its_desc(tmp_path: Path) -> None:
    assert sources_of(tmp_path, ENTITIES, "T1w", "synth") is None
    assert not is_complete(tmp_path, ENTITIES, "T1w", "synth")
    written = write_maps(image(), tmp_path, ENTITIES, MADE)
    assert is_complete(tmp_path, ENTITIES, "T1w", "synth")
    assert sources_of(tmp_path, ENTITIES, "T1w", "synth") == MADE.sources
    for suffix, desc in (("T1w", ""), ("T1map", ""), ("T1map", "synth"), ("T1w", "other")):
        assert not is_complete(tmp_path, ENTITIES, suffix, desc)
        assert sources_of(tmp_path, ENTITIES, suffix, desc) is None
    written.images["T1w std"].write_bytes(b"other")
    assert not is_complete(tmp_path, ENTITIES, "T1w", "synth")


def test_images_and_maps_share_a_folder(tmp_path: Path) -> None:
    write_maps(made_up_maps(), tmp_path, ENTITIES, MADE)
    write_maps(image(), tmp_path, ENTITIES, dataclasses.replace(MADE, sources=("e3.nii.gz",)))
    assert is_complete(tmp_path, ENTITIES) and is_complete(tmp_path, ENTITIES, "T1w", "synth")
    assert sources_of(tmp_path, ENTITIES) == MADE.sources
    assert sources_of(tmp_path, ENTITIES, "T1w", "synth") == ("e3.nii.gz",)


def test_brain_and_draws_lie_beside_it(tmp_path: Path) -> None:
    maps = image(2)
    beside = made_beside(maps, INSIDE)
    written = write_maps(maps, tmp_path, ENTITIES, MADE, beside)
    names = {key: written.images[key].name for key in ("brain", "draw 1", "draw 2")}
    assert names == {
        "brain": "sub-01_ses-a_desc-T1wbrain_mask.nii.gz",
        "draw 1": "sub-01_ses-a_desc-synth1_T1w.nii.gz",
        "draw 2": "sub-01_ses-a_desc-synth2_T1w.nii.gz",
    }
    assert torch.equal(open_volume(written.images["brain"]).data > 0, INSIDE)
    told = json.loads(written.images["brain"].with_name("sub-01_ses-a_desc-T1wbrain_mask.json").read_text())
    assert told["Type"] == "Brain"
    for number in (1, 2):
        drawn = open_volume(written.images[f"draw {number}"]).data
        torch.testing.assert_close(drawn[INSIDE], maps.value("T1w")[INSIDE] + number)
        assert bool((drawn[~INSIDE] == 0).all())
    assert is_complete(tmp_path, ENTITIES, "T1w", "synth")
    # Made again without draws, the old ones go.
    write_maps(image(), tmp_path, ENTITIES, MADE, made_beside(image(), INSIDE))
    assert not list(folder(tmp_path).glob("*synth1*")) and not list(folder(tmp_path).glob("*synth2*"))
    assert is_complete(tmp_path, ENTITIES, "T1w", "synth")


@pytest.mark.filterwarnings("default")  # of the program that is called
def test_the_validator_finds_no_error(tmp_path: Path) -> None:
    maps = image(1)
    write_maps(maps, tmp_path, {"sub": "01"}, MADE, made_beside(maps, INSIDE))
    assert validator_errors(tmp_path) == []
