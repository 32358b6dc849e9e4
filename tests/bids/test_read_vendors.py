"""Scanners of five makes, from DICOM through the converter to T1 and R2*, each cell with the truth.

What describes a scanner is taken from a file of a real one where there is one; other cells are constructed.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pydicom
import pytest
from _pytest.mark.structures import ParameterSet

from tests.dicom_maker import Order, Quantity, Scales, Storage, truth, write_dicom
from unweight.bids.read import read_inputs
from unweight.core.acquisition import Acquisition
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.fit.log_linear import LogLinear
from unweight.fit.relaxation import RelaxationFit
from unweight.signals.parameters import R2STAR

Find = Callable[[str], Path]
FACTORS = (1.0, 1.6, 0.7, 1.3, 0.5, 0.9)  # of the scaling, from volume to volume
TOLERANCE = 0.05
MAKERS = {
    "Siemens": "SIEMENS",
    "GE": "GE MEDICAL SYSTEMS",
    "Philips": "Philips Medical Systems",
    "Canon": "CANON_MEC",
    "UIH": "UIH",
}
IMAGE_TYPES = {
    "Siemens": ["ORIGINAL", "PRIMARY", "M", "ND"],
    "GE": ["ORIGINAL", "PRIMARY", "OTHER"],
    "Philips": ["ORIGINAL", "PRIMARY", "M_SE", "M", "SE"],
    "Canon": ["ORIGINAL", "PRIMARY"],
    "UIH": ["ORIGINAL", "PRIMARY", "M"],
}
MOSAIC_MAKERS = ("Siemens", "UIH")
# By keyword; what else a file says of its scanner is of the sequence.
DESCRIBING = (
    "ManufacturerModelName",
    "SoftwareVersions",
    "ImageType",
    "PatientPosition",
    "MagneticFieldStrength",
)
ADDED_BY_THE_CONVERTER = "MAGNITUDE"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One kind of examination.

    Attributes:
        source: A file of a real scanner that stores this way, below the shared data; None if constructed.
    """

    maker: str
    storage: Storage
    world: bool
    one_series: bool
    quantity: Quantity
    source: str | None

    def __str__(self) -> str:
        words = (
            self.maker,
            self.storage,
            "world" if self.world else "plain",
            "one" if self.one_series else "several",
            self.quantity,
            "constructed" if self.source is None else "real",
        )
        return "-".join(words)


# One file for a make and a storage, without and with real-world values, for T1 and for R2*.
REAL = {
    ("Siemens", Storage.CLASSIC, False): (
        "nist_ir_hazen/T1/site1_20200218/plate5/20530464",
        "fmap_dcm_qa/dicom_siemens/e1_17.dcm",
    ),
    ("Siemens", Storage.ENHANCED, False): (
        "sidecars/siemens_xa30_5_anat-T1w_acq-tfl.json",
        "sidecars/siemens_xa30_8_gre_field_mapping_e1.json",
    ),
    ("GE", Storage.CLASSIC, False): (
        "nist_ir_hazen/T1/site3_ge/plate5/Z677",
        "fmap_dcm_qa/GE_6_CV_Neuro_HH_Adv.json",
    ),
    ("Philips", Storage.CLASSIC, True): (
        "sidecars/philips_ds004910_FLAIR.json",
        "sidecars/philips_2001_WIP_fcMRI_Field_Mapping_cl_e1.json",
    ),
    ("Philips", Storage.ENHANCED, True): ("sidecars/philips_wip_anatbrain_t1w3d_301.json",) * 2,
    ("Philips", Storage.ENHANCED, False): ("sidecars/philips_1301_WIP_ADNI_Sag3D_MPRAGE_enh.json",) * 2,
    ("UIH", Storage.CLASSIC, False): (
        "sidecars/uih_t1_gre_fsp_3d_sag_132222.json",
        "sidecars/uih_t1_gre_fsp_3d_sag_134431.json",
    ),
}
CELLS = tuple(
    Cell(
        maker=maker,
        storage=storage,
        world=world,
        one_series=one_series,
        quantity=quantity,
        source=REAL.get((maker, storage, world), (None, None))[quantity is Quantity.R2STAR],
    )
    for maker, storage, world, one_series, quantity in product(
        MAKERS, Storage, (False, True), (False, True), Quantity
    )
    if storage is not Storage.MOSAIC or maker in MOSAIC_MAKERS
)


def marked(cell: Cell) -> ParameterSet:
    """Return the cell; the second of two constructed ones that differ in the number of series is slow."""
    later = cell.source is None and cell.one_series and cell.maker != "Philips"
    return pytest.param(cell, marks=[pytest.mark.slow] if later else [], id=str(cell))


def test_how_many_cells_there_are_and_how_many_are_constructed() -> None:
    assert len(CELLS) == 96
    assert len({str(cell) for cell in CELLS}) == 96
    assert sum(cell.source is None for cell in CELLS) == 68


@pytest.mark.parametrize("cell", [marked(cell) for cell in CELLS])
def test_vendor(cell: Cell, shared_data: Find, tmp_path: Path) -> None:
    found = {} if cell.source is None else described(shared_data(cell.source))
    write_dicom(tmp_path, order_of(cell, found))
    (series,) = read_inputs([tmp_path])
    check_map(series.acquisition, cell.quantity)


def order_of(cell: Cell, found: Mapping[str, object]) -> Order:
    """Return what to write for a cell, as a file of a real scanner has it."""
    tags: dict[str, object] = {"ImageType": IMAGE_TYPES[cell.maker]} | {
        name: found[name] for name in DESCRIBING if found.get(name)
    }
    if cell.storage is Storage.MOSAIC:
        tags["ImageType"] = [*IMAGE_TYPES[cell.maker], "MOSAIC" if cell.maker == "Siemens" else "VFRAME"]
    order = Order(
        quantity=cell.quantity,
        storage=cell.storage,
        one_series=cell.one_series,
        scales=scales_of(cell, found),
        tags={"Manufacturer": MAKERS[cell.maker], **tags},
    )
    if not cell.world:
        return order
    return replace(order, world_slopes=[scales.rescale for scales in order.scales])


def scales_of(cell: Cell, found: Mapping[str, object]) -> list[Scales]:
    """Return scalings that differ from volume to volume; of other makes, public elements only."""
    factors = FACTORS[: len(Order(quantity=cell.quantity).times)]
    if cell.maker == "Philips":
        scale, rescale = (float(str(found.get(f"Philips{name}Slope", 1))) for name in ("Scale", "Rescale"))
        middle = reversed(factors)
        return [Scales(scale=scale * a, rescale=rescale * b) for a, b in zip(factors, middle, strict=True)]
    return [Scales(scale=a, rescale=1 / a, private=False) for a in factors] if cell.world else []


def described(path: Path) -> Mapping[str, object]:
    """Return what a file of a real scanner says of it, by DICOM keyword."""
    if path.suffix == ".json":
        fields = json.loads(path.read_text())
        types = [word for word in fields["ImageType"] if word != ADDED_BY_THE_CONVERTER]
        versions = fields["SoftwareVersions"].split("\\")
        model = fields["ManufacturersModelName"]
        return {**fields, "ManufacturerModelName": model, "ImageType": types, "SoftwareVersions": versions}
    image = pydicom.dcmread(path, stop_before_pixels=True)
    return {name: image.get(name) for name in DESCRIBING}


def check_map(acquisition: Acquisition, quantity: Quantity) -> None:
    """Compare the median of each half of each slice with the truth, where the file says it is."""
    fit = (
        InversionRecoveryFit()
        if quantity is Quantity.T1
        else RelaxationFit(solver=LogLinear(), quantity=R2STAR)
    )
    maps = fit(acquisition)
    values = maps.value(fit.parameters[0].name).numpy()
    assert acquisition.affine is not None
    affine = acquisition.affine.numpy()
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in values.shape), indexing="ij"), -1)
    ras = voxels @ affine[:3, :3].T + affine[:3, 3]
    true = truth(quantity, ras * [-1, -1, 1])
    assert len(np.unique(true)) == 2 * values.shape[2]
    for value in np.unique(true):
        assert np.nanmedian(values[true == value]) == pytest.approx(value, rel=TOLERANCE)
    assert (np.abs(values / true - 1) < TOLERANCE).mean() > 0.9
