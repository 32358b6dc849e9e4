from pathlib import Path

import pytest
import torch

from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.write import write_maps
from unweight.core.errors import OutputError
from unweight.core.maps import ParameterMaps
from unweight.mapping.output import check_overwrite, figure_path
from unweight.signals.parameters import CHI, R2STAR

NAME = {"sub": "01", "acq": "a"}
SOURCES = ("sha256:00", "sha256:11")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    maps = ParameterMaps(
        specs=(CHI,),
        values=torch.zeros(2, 2, 2, 1),
        std=torch.ones(2, 2, 2, 1),
        status=torch.zeros(2, 2, 2, dtype=torch.uint8),
        misfit=None,
        noise_sd=None,
        affine=torch.eye(4),
    )
    write_maps(maps, tmp_path, NAME, Provenance(sources=SOURCES, algorithm="none"))
    return tmp_path


def test_maps_of_the_same_images_may_be_made_again(out: Path) -> None:
    check_overwrite(out, NAME, SOURCES, CHI.suffix)


def test_maps_of_other_images_are_kept(out: Path) -> None:
    with pytest.raises(OutputError, match="already holds maps of other images under the name sub-01_acq-a"):
        check_overwrite(out, NAME, ("sha256:22",), CHI.suffix)


def test_order_of_the_images_is_part_of_what_they_are(out: Path) -> None:
    with pytest.raises(OutputError, match="other images"):
        check_overwrite(out, NAME, SOURCES[::-1], CHI.suffix)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [({"sub": "01"}, CHI.suffix), ({"sub": "02", "acq": "a"}, CHI.suffix), (NAME, R2STAR.suffix)],
)
def test_other_names_and_other_maps_are_free(out: Path, name: dict[str, str], suffix: str) -> None:
    check_overwrite(out, name, ("sha256:22",), suffix)


def test_picture_stands_in_the_folder_of_the_subject() -> None:
    image = Path("maps/sub-01/ses-b/anat/sub-01_ses-b_Chimap.nii.gz")
    found = figure_path(Path("maps"), image, "01")
    assert found == Path("maps/sub-01/figures/sub-01_ses-b_Chimap.png")
