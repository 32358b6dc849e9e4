"""What images are according to headers, of real scanners where there are any, and of rules one by one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from unweight.bids.exam.kind import kind_of
from unweight.bids.sidecar import Sidecar

REAL = {
    "ge_3D_Ax_T1_MP-RAGE": "T1w",
    "philips_1301_WIP_ADNI_Sag3D_MPRAGE_cl": "T1w",
    "philips_1301_WIP_ADNI_Sag3D_MPRAGE_enh": "T1w",
    "philips_2001_WIP_fcMRI_Field_Mapping_cl_e1": "",
    "philips_2001_WIP_fcMRI_Field_Mapping_cl_e1_ph": "",
    "philips_ds004910_FLAIR": "FLAIR",
    "philips_ds004910_T1w": "T1w",
    "philips_wip_anatbrain_t1w3d_301": "T1w",
    "philips_wip_anatbrain_t1w3d_301_ph": "",
    "siemens_HCP_T1": "T1w",
    "siemens_T1_memprage_5_e1": "T1w",
    "siemens_T1_memprage_rms_RMS": "",
    "siemens_T1_mprage_ns_sag_p2": "T1w",
    "siemens_ds003778_T2w_tse": "T2w",
    "siemens_ds005270_FLAIR": "FLAIR",
    "siemens_ds005270_T1w": "T1w",
    "siemens_ds005603_T2w_tse": "T2w",
    "siemens_ds007135_FLAIR": "FLAIR",
    "siemens_ds007135_T2w": "T2w",
    "siemens_t1_mp2rage_sag_p3_32_INV1": "",
    "siemens_t1_mp2rage_sag_p3_32_UNI_Images": "",
    "siemens_xa30_5_anat-T1w_acq-tfl": "T1w",
    "siemens_xa30_8_gre_field_mapping_e1": "",
    "uih_t1_gre_fsp_3d_sag_132222": "T1w",
}
SPIN = {"ScanningSequence": "SE", "RepetitionTime": 0.6, "EchoTime": 0.012}


def sidecar(**fields: object) -> Sidecar:
    return Sidecar(image=Path("x.nii"), fields=fields)


@pytest.mark.parametrize("name", REAL)
def test_headers_of_scanners(shared_data: Callable[[str], Path], name: str) -> None:
    fields = json.loads((shared_data("sidecars") / f"{name}.json").read_text())
    kind = kind_of(sidecar(**fields))
    assert kind.contrast == REAL[name]
    assert bool(kind.excluded) == (REAL[name] == "")
    assert kind.agent == ""


@pytest.mark.parametrize(
    ("fields", "contrast"),
    [
        (SPIN, "T1w"),
        (SPIN | {"RepetitionTime": 5.0, "EchoTime": 0.1}, "T2w"),
        (SPIN | {"RepetitionTime": 3.2, "EchoTime": 0.455}, "T2w"),
        (SPIN | {"RepetitionTime": 3.0}, ""),  # proton density
        (SPIN | {"RepetitionTime": 9.0, "EchoTime": 0.1, "InversionTime": 2.5}, "FLAIR"),
        (SPIN | {"RepetitionTime": 9.0, "EchoTime": 0.1, "SeriesDescription": "tirm_dark-fluid"}, "FLAIR"),
        (SPIN | {"RepetitionTime": 2.0, "InversionTime": 0.8, "SeriesDescription": "T1 FLAIR"}, "T1w"),
        (SPIN | {"RepetitionTime": 4.0, "InversionTime": 0.15, "EchoTime": 0.06}, ""),  # STIR
        ({"ScanningSequence": "GR", "EchoTime": 0.02, "RepetitionTime": 0.028}, ""),  # T2*
        ({"ScanningSequence": "GR", "EchoTime": 0.004, "ProtocolName": "T1_fl3d"}, "T1w"),
        ({"ScanningSequence": "GR", "SequenceVariant": "MP", "EchoTime": 0.004}, "T1w"),
        ({"SeriesDescription": "AX T2 FRFSE"}, "T2w"),
        ({"SeriesDescription": "t1_mpr_ns_sag_p2", "SequenceName": "*tfl3d1_ns", "EchoTime": 0.003}, "T1w"),
        ({"SeriesDescription": "something"}, ""),
    ],
)  # fmt: skip
def test_timings_and_names_tell_the_contrast(fields: dict[str, object], contrast: str) -> None:
    assert kind_of(sidecar(**fields)).contrast == contrast


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"SeriesDescription": "3-plane loc"}, "localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]}, "projection"),
        ({"ImageType": ["DERIVED", "PRIMARY", "MPR"]}, "reformatted"),
        ({"ImageType": ["DERIVED", "PRIMARY", "OTHER"]}, "computed from other images"),
        ({"SeriesDescription": "DWI b1000"}, "diffusion"),
        ({"ScanningSequence": "EP\\SE"}, "echo-planar"),
        ({"SeriesDescription": "SWI_3D"}, "susceptibility"),
        ({"SeriesDescription": "TOF_multislab"}, "angiogram"),
        ({"BodyPartExamined": "CSPINE"}, "part of the body"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, "phase"),
    ],
)
def test_what_is_no_weighted_image_is_excluded_with_its_reason(
    fields: dict[str, object], word: str
) -> None:
    kind = kind_of(sidecar(**(SPIN | fields)))
    assert kind.contrast == "" and word in kind.excluded


@pytest.mark.parametrize(
    ("fields", "agent"),
    [
        ({"ContrastBolusIngredient": "GADOLINIUM"}, True),
        ({"ContrastBolusAgent": "Gadovist"}, True),
        ({"ContrastBolusAgent": "NONE"}, False),
        ({"SeriesDescription": "AX T1 POST"}, True),
        ({"SeriesDescription": "t1_se_tra_KM"}, True),
        ({"SeriesDescription": "AX T1 +C"}, True),
        ({"SeriesDescription": "T1 pre contrast"}, False),
        ({"SeriesDescription": "T1 sag"}, False),
    ],
)
def test_a_contrast_agent_is_seen(fields: dict[str, object], agent: bool) -> None:
    assert bool(kind_of(sidecar(**(SPIN | fields))).agent) is agent


def test_the_name_of_an_image_goes_before_its_header() -> None:
    kind = kind_of(sidecar(**(SPIN | {"ImageType": ["DERIVED", "PRIMARY"]})), "FLAIR")
    assert kind.contrast == "FLAIR" and not kind.excluded
    assert kind.derived == "computed from other images"
