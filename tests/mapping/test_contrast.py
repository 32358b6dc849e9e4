"""Weighted images from maps: the signal model to the digit, the SD, the files, and what is refused."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor

import unweight
from tests.cli.outcome import called, complete_sets
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.write import is_complete, write_maps
from unweight.core.acquisition import SignalKind
from unweight.core.errors import InputError, OutputError, ProtocolError, UsageError
from unweight.core.maps import ParameterMaps, VoxelStatus, assemble_maps
from unweight.core.protocol import Protocol
from unweight.core.seeding import seeded_generator
from unweight.learn.weighted.estimator import SPECS
from unweight.mapping.contrast import synthesised
from unweight.signals.flair import Flair
from unweight.signals.mprage import Mprage
from unweight.signals.spin_echo import SpinEcho
from unweight.synth.protocols.contrast import Contrast, ContrastTimes

SHAPE = (6, 5, 4)
AFFINE = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0], dtype=torch.float64))
LOWEST, HIGHEST = torch.tensor([0.4, 0.03, 0.5]).double(), torch.tensor([4.5, 1.8, 1.2]).double()
TIMES = {
    Contrast.T1W: ContrastTimes(repetition_time=0.5, echo_time=0.012, flip_angle=70.0),
    Contrast.T2W: ContrastTimes(repetition_time=4.0, echo_time=0.09),
    Contrast.FLAIR: ContrastTimes(repetition_time=8.0, inversion_time=2.2, echo_time=0.12),
    Contrast.MPRAGE: ContrastTimes(repetition_time=2.0, inversion_time=0.88, flip_angle=8.0),
}


def example_maps(seed: int = 0, *, masked: bool = True) -> ParameterMaps:
    theta = LOWEST + (HIGHEST - LOWEST) * torch.rand(*SHAPE, 3, generator=seeded_generator(seed)).double()
    status = torch.full(SHAPE, int(VoxelStatus.OK), dtype=torch.uint8)
    if masked:
        status[0], status[1, 0], status[2, 0] = (
            VoxelStatus.MASKED,
            VoxelStatus.NO_SIGNAL,
            VoxelStatus.AT_LIMIT,
        )
    std = theta * torch.tensor([0.05, 0.08, 0.02]).double()
    return assemble_maps(SPECS, theta, std, status, like=theta, affine=AFFINE)


def by_the_model(contrast: Contrast, maps: ParameterMaps, protocol: Protocol) -> Tensor:
    """The signal by the class of its sequence, another way than that of the program."""
    t1, t2, pd = maps.values.unbind(-1)
    if contrast is Contrast.MPRAGE:
        return Mprage(kind=SignalKind.MAGNITUDE)(torch.stack([t1, pd, 1 / t2], -1), protocol)[..., 0]
    model = Flair(kind=SignalKind.MAGNITUDE) if contrast is Contrast.FLAIR else SpinEcho()
    return model(maps.values, protocol)[..., 0]


@pytest.mark.parametrize("contrast", Contrast)
@pytest.mark.parametrize("own_times", [False, True], ids=["preset", "own times"])
def test_the_image_is_the_signal_model(contrast: Contrast, own_times: bool) -> None:
    maps = example_maps()
    weighting, _ = (TIMES[contrast] if own_times else ContrastTimes()).weighting(contrast)
    image = synthesised(maps, contrast.spec, weighting)
    truth = by_the_model(contrast, maps, weighting.protocol)
    torch.testing.assert_close(
        image.value(contrast.display_name), truth, rtol=1e-6, atol=1e-12, equal_nan=True
    )
    assert torch.equal(image.status, maps.status)
    assert bool(image.value(contrast.display_name)[image.failed].isnan().all())
    assert bool(image.deviation(contrast.display_name)[~image.failed].isfinite().all())


def test_a_number_worked_out_by_hand() -> None:
    """TR 5 s, train to 0.2 s, TE 0.1 s: 0.8·(1 − e^(−4.8/1.2))·e^(−1) for T1 1.2 s, T2 0.1 s, PD 0.8."""
    theta = torch.tensor([[1.2, 0.1, 0.8]], dtype=torch.float64)
    maps = assemble_maps(SPECS, theta, 0 * theta, torch.zeros(1, dtype=torch.uint8), like=theta)
    weighting, notes = ContrastTimes(repetition_time=5.0, echo_time=0.1).weighting(Contrast.T2W)
    image = synthesised(maps, Contrast.T2W.spec, weighting)
    assert float(image.value("T2w")) == pytest.approx(0.8 * (1 - math.exp(-4)) * math.exp(-1), rel=1e-12)
    assert float(image.deviation("T2w")) == 0
    assert "end at twice the echo time" in notes[0]


@pytest.mark.parametrize("contrast", Contrast)
def test_the_deviation_agrees_with_finite_differences(contrast: Contrast) -> None:
    maps = example_maps(masked=False)
    weighting, _ = TIMES[contrast].weighting(contrast)
    squares = torch.zeros(SHAPE, dtype=torch.float64)
    for index in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[index] = 1e-5
        ends = []
        for sign in (-1, 1):
            moved = assemble_maps(
                SPECS, maps.values * (1 + sign * step), maps.std, maps.status, like=maps.values
            )
            ends.append(by_the_model(contrast, moved, weighting.protocol))
        slope = (ends[1] - ends[0]) / (2e-5 * maps.values[..., index])
        squares += (slope * maps.std[..., index]) ** 2
    image = synthesised(maps, contrast.spec, weighting)
    # The magnitude has a kink at the null of an inversion, which a difference must not straddle.
    away = image.value(contrast.display_name) > 1e-3
    assert int(away.sum()) > 0.9 * away.numel()
    torch.testing.assert_close(
        image.deviation(contrast.display_name)[away], squares.sqrt()[away], rtol=1e-5, atol=1e-9
    )


def test_errors_of_normal_maps_are_covered_at_the_nominal_rate() -> None:
    """Draws about the maps with their SD: 90 % of images lie within 1.645 SD, in white matter."""
    centre, spread = torch.tensor([0.9, 0.07, 0.7]).double(), torch.tensor([0.03, 0.002, 0.01]).double()
    drawn = centre + spread * torch.randn(20_000, 3, generator=seeded_generator(1)).double()
    for contrast in (Contrast.T1W, Contrast.T2W, Contrast.MPRAGE):
        weighting, _ = ContrastTimes().weighting(contrast)
        images = []
        for theta in (centre[None], drawn):
            status = torch.zeros(len(theta), dtype=torch.uint8)
            maps = assemble_maps(SPECS, theta, spread.expand_as(theta), status, like=theta)
            images.append(synthesised(maps, contrast.spec, weighting))
        middle, cloud = images
        away = (cloud.values - middle.values).abs() / middle.std
        assert float((away < 1.6449).double().mean()) == pytest.approx(0.90, abs=0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Maps of two people, as `unweight maps` writes them."""
    out = tmp_path_factory.mktemp("maps")
    for number, entities in enumerate(({"sub": "01"}, {"sub": "02", "ses": "b"})):
        maps = example_maps(number)
        single = assemble_maps(
            SPECS, maps.values, maps.std, maps.status, like=maps.values.float(), affine=AFFINE
        )
        provenance = Provenance(
            sources=(f"sha256:{number}",), algorithm="A network", acquired={"MagneticFieldStrength": 3.0}
        )
        write_maps(single, out, entities, provenance)
    return out


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, str]:
    anat = folder / "sub-01" / "anat"
    return {
        f"--{name.lower()}-{kind}": str(anat / f"sub-01_{desc}{name}map.nii.gz")
        for name in ("T1", "T2", "PD")
        for kind, desc in (("map", ""), ("sd", "desc-std_"))
    }


def words_of(files: Mapping[str, str]) -> list[str]:
    return [word for pair in files.items() for word in pair]


def fields_of(image: Path) -> dict[str, object]:
    fields: dict[str, object] = json.loads(
        image.with_name(image.name.replace(".nii.gz", ".json")).read_text()
    )
    return fields


def test_the_command_writes_every_image_of_every_subject(folder: Path, tmp_path: Path) -> None:
    words = ["contrast", folder, "--t1w", "--t2w", "--flair", "--mprage", "-o", tmp_path, "--no-figures"]
    outcome = called(words)
    assert outcome.code == 0, outcome.err
    assert len(complete_sets(tmp_path)) == 8
    for stem in ("sub-01/anat/sub-01", "sub-02/ses-b/anat/sub-02_ses-b"):
        for name in ("T1w", "T2w", "FLAIR"):
            assert (tmp_path / f"{stem}_desc-synth_{name}.nii.gz").is_file()
            assert (tmp_path / f"{stem}_desc-std_{name}.nii.gz").is_file()
        assert (tmp_path / f"{stem}_acq-MPRAGE_desc-synth_T1w.nii.gz").is_file()
        assert (tmp_path / f"{stem}_acq-MPRAGE_desc-std_T1w.nii.gz").is_file()
    path = tmp_path / "sub-01/anat/sub-01_desc-synth_FLAIR.nii.gz"
    image, fields = nib.load(path), fields_of(path)
    values = np.asarray(image.dataobj)
    status = np.asarray(nib.load(path.with_name("sub-01_desc-FLAIRstatus_dseg.nii.gz")).dataobj)
    assert image.get_data_dtype() == np.float32
    assert np.allclose(image.affine, AFFINE)
    assert np.isnan(values[0]).all() and (status[0] == VoxelStatus.MASKED).all()
    assert np.isnan(values[1, 0]).all() and (status[1, 0] == VoxelStatus.NO_SIGNAL).all()
    assert np.isfinite(values[2, 0]).all() and (status[2, 0] == VoxelStatus.AT_LIMIT).all()
    times = {"RepetitionTime": 9.0, "EchoTime": 0.1, "InversionTime": 2.5, "FlipAngle": 90.0}
    assert {name: fields[name] for name in times} == times
    assert fields["MagneticFieldStrength"] == 3.0 and fields["SkullStripped"] is True
    own = fields["unweight"]
    assert isinstance(own, dict) and own["Settings"]["Timings"]["readout_time"] == 0.1875
    assert own["Settings"]["Maps"] == "A network" and "independent" in own["Settings"]["StandardDeviation"]
    page = (tmp_path / "sub-01.html").read_text()
    assert "synthesised from maps (not measured)" in page and "by a network" not in page
    fields = fields_of(tmp_path / "sub-01/anat/sub-01_acq-MPRAGE_desc-synth_T1w.nii.gz")
    times = {"RepetitionTime": 2.3, "EchoTime": 0.00298, "InversionTime": 0.9, "FlipAngle": 9.0}
    assert {name: fields[name] for name in times} == times
    assert fields["RepetitionTimePreparation"] == 2.3 and fields["RepetitionTimeExcitation"] == 0.0071


def test_files_give_the_image_of_the_folder(folder: Path, files: dict[str, str], tmp_path: Path) -> None:
    flair = [
        "--flair",
        "--tr",
        "4.8",
        "--te",
        "0.09",
        "--ti",
        "1.65",
        "--no-figures",
        "--no-report",
        "--quiet",
    ]
    first = ["contrast", folder, "--participant-label", "01", *flair, "-o", tmp_path / "a"]
    second = ["contrast", *words_of(files), *flair, "-o", tmp_path / "b"]
    for words in (first, second):
        outcome = called(words)
        assert outcome.code == 0, outcome.err
    kinds = ("synth", "std")
    one, two = (
        [tmp_path / root / f"sub-01/anat/sub-01_desc-{kind}_FLAIR.nii.gz" for kind in kinds]
        for root in "ab"
    )
    inside = None
    for left, right in zip(one, two, strict=True):
        a, b = (np.asarray(nib.load(path).dataobj) for path in (left, right))
        inside = np.isfinite(a)
        assert np.array_equal(a[inside], b[inside]) and np.isnan(b[~inside]).all()
    fields = fields_of(two[0])
    times = {"RepetitionTime": 4.8, "EchoTime": 0.09, "InversionTime": 1.65}
    assert {name: fields[name] for name in times} == times
    assert not (tmp_path / "a" / "sub-02").exists()


def test_without_deviations_the_sd_is_nan_and_that_is_noted(files: dict[str, str], tmp_path: Path) -> None:
    maps = {name: path for name, path in files.items() if name.endswith("map")}
    words = [
        "contrast",
        *words_of(maps),
        "--t2w",
        "--subject",
        "x",
        "-o",
        tmp_path,
        "--no-figures",
        "--no-report",
    ]
    outcome = called(words)
    assert outcome.code == 0 and "its SD is NaN" in " ".join(outcome.out.split())
    spread = nib.load(tmp_path / "sub-x/anat/sub-x_desc-std_T2w.nii.gz")
    assert np.isnan(np.asarray(spread.dataobj)).all()
    fields = fields_of(tmp_path / "sub-x/anat/sub-x_desc-synth_T2w.nii.gz")
    own = fields["unweight"]
    assert isinstance(own, dict) and own["Settings"]["StandardDeviation"] == "not known"


def test_a_mask_limits_where_images_are_computed(files: dict[str, str], tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[3:] = 1
    nib.save(nib.Nifti1Image(mask, AFFINE.numpy()), tmp_path / "mask.nii.gz")
    words = [
        "contrast",
        *words_of(files),
        "--t1w",
        "--mask",
        tmp_path / "mask.nii.gz",
        "-o",
        tmp_path / "out",
    ]
    assert called([*words, "--quiet", "--no-figures", "--no-report"]).code == 0
    values = np.asarray(nib.load(tmp_path / "out/sub-01/anat/sub-01_desc-synth_T1w.nii.gz").dataobj)
    assert np.array_equal(np.isfinite(values), mask > 0)


def test_python_gives_what_the_command_writes(folder: Path, tmp_path: Path) -> None:
    words = [
        "contrast",
        folder,
        "--subjects",
        "01",
        "--t1w",
        "--tr",
        "0.5",
        "--acq",
        "a",
        "-o",
        tmp_path / "a",
    ]
    assert called([*words, "--no-figures", "--no-report"]).code == 0
    images = unweight.synthesise(folder, t1w={"tr": 0.5}, acq="a", subject="01")
    assert list(images) == ["t1w"]
    images["t1w"].save(tmp_path / "b", figures=False, report=False)
    left, right = (
        {path.relative_to(tmp_path / root): path for path in (tmp_path / root).rglob("*") if path.is_file()}
        for root in "ab"
    )
    assert set(left) == set(right) and len(left) > 8
    for name, path in left.items():
        assert path.read_bytes() == right[name].read_bytes(), name


def test_maps_in_memory_give_images_too(folder: Path) -> None:
    (first,) = unweight.synthesise(folder, t1w=True, subject="sub-01").values()
    with pytest.raises(UsageError, match="no map of T1 here"):
        unweight.synthesise(first, t2w=True)
    maps = unweight.mapping.map_input.read_set(
        Contrast.T1W, folder, folder / "sub-01/anat/sub-01_T1map.json"
    )
    in_memory = unweight.MappedSeries(
        label="sub-01", maps=maps.maps, output=first.output, provenance=first.provenance
    )
    images = unweight.synthesise(in_memory, t1w=True, mprage={"tr": 2.5, "ti": 1.0, "flip": 8})
    assert torch.equal(images["t1w"].value("T1w").nan_to_num(), first.value("T1w").nan_to_num())
    assert images["mprage"].output.entities["acq"] == "MPRAGE"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["FOLDER"], "no contrast is chosen"),
        (["--t1w"], "give either one folder of maps"),
        (["FOLDER", "--t1-map", "a.nii.gz", "--t1w"], "give either one folder of maps"),
        (["--t1-map", "a.nii.gz", "--t1w"], "the map of T2 and PD is missing"),
        (["--t1-map", "a", "--t2-map", "b", "--pd-map", "c", "--t1-sd", "d", "--t1w"], "--t2-sd"),
        (["--t1-map", "a.nii", "--t2-map", "b.nii", "--pd-map", "c.nii", "--t1w"], "a.nii"),
        (["nowhere", "--t1w"], "is not a folder"),
        (["FOLDER", "--t1w", "--subjects", "99"], "contains no maps of sub-99"),
        (["FOLDER", "--flair", "--tr", "5"], "FLAIR with TR 5 s needs its inversion time"),
        (["FOLDER", "--mprage", "--tr", "2"], "MPRAGE with TR 2 s needs its inversion time"),
        (["FOLDER", "--flair", "--ti", "2500"], "looks like milliseconds"),
        (["FOLDER", "--flair", "--tr", "2", "--ti", "2.5"], "is not shorter than repetition_time"),
        (["FOLDER", "--flair", "--flip", "120"], "90° excitation"),
        (["FOLDER", "--t2w", "--flip", "150"], "a flip angle of 150 degrees is not an excitation"),
        (["FOLDER", "--mprage", "--readout-time", "0.2"], "no refocusing train"),
        (["FOLDER", "--t1w", "--t2w", "--tr", "0.5"], "can be given for one contrast only"),
        (["FOLDER", "--t1w", "--tr", "0.5", "0.6"], "2 values of repetition time"),
        (["FOLDER", "--t1w", "--acq", "a-b"], "not a valid label of acq"),
        (["FOLDER", "--t1w", "--mask", "m.nii"], "apply only to maps given as files"),
    ],
)
def test_what_cannot_be_used_is_refused(words: list[str], text: str, folder: Path, tmp_path: Path) -> None:
    given = [str(folder) if word == "FOLDER" else word for word in words]
    outcome = called(["contrast", *given, "-o", tmp_path / "out"])
    assert outcome.code == 2
    assert text in " ".join(outcome.err.split())
    assert not (tmp_path / "out").exists()


def test_milliseconds_are_not_taken_for_seconds(files: dict[str, str], tmp_path: Path) -> None:
    image = nib.load(files["--t1-map"])
    nib.save(nib.Nifti1Image(1000 * np.asarray(image.dataobj), image.affine), tmp_path / "ms.nii.gz")
    words = words_of(files | {"--t1-map": str(tmp_path / "ms.nii.gz")})
    outcome = called(["contrast", *words, "--t1w", "-o", tmp_path / "out"])
    assert outcome.code == 2 and "looks like milliseconds" in outcome.err and "ms.nii.gz" in outcome.err


def test_images_of_other_maps_are_kept_and_those_of_the_same_replaced(folder: Path, tmp_path: Path) -> None:
    unweight.synthesise(folder, t1w=True, subject="01")["t1w"].save(tmp_path, figures=False, report=False)
    again = unweight.synthesise(folder, t1w={"tr": 0.5}, subject="01")["t1w"]
    again.save(tmp_path, figures=False, report=False)
    path = tmp_path / "sub-01/anat/sub-01_desc-synth_T1w.nii.gz"
    assert fields_of(path)["RepetitionTime"] == 0.5
    # What `unweight mprage` makes of gradient echoes has other sources: it is not written over.
    other = Provenance(sources=("sha256:echoes",), algorithm="A network")
    spec = Contrast.T1W.spec
    maps = example_maps()
    write_maps(
        ParameterMaps(
            specs=(spec,),
            values=maps.values[..., :1],
            std=maps.std[..., :1],
            status=maps.status,
            affine=AFFINE,
        ),
        tmp_path / "echoes",
        {"sub": "01"},
        other,
    )
    with pytest.raises(OutputError, match="maps of other images"):
        again.save(tmp_path / "echoes")
    assert is_complete(tmp_path / "echoes", {"sub": "01"}, "T1w", "synth")
    beside = unweight.synthesise(folder, t1w=True, subject="01", acq="harmonised")["t1w"]
    beside.save(tmp_path / "echoes", figures=False, report=False)
    assert (tmp_path / "echoes/sub-01/anat/sub-01_acq-harmonised_desc-synth_T1w.nii.gz").is_file()


def test_a_damaged_set_does_not_stop_the_others(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "maps"
    for path in folder.rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (copy / "sub-01/anat/sub-01_T2map.nii.gz").write_bytes(b"damaged")
    outcome = called(["contrast", copy, "--t2w", "-o", tmp_path / "out", "--no-figures", "--no-report"])
    assert outcome.code == 1 and "1 of 2 images failed" in outcome.err
    assert not list((tmp_path / "out").glob("sub-01/**/*.nii.gz"))
    assert (tmp_path / "out/sub-02/ses-b/anat/sub-02_ses-b_desc-synth_T2w.nii.gz").is_file()


def test_t1_maps_alone_are_not_enough(tmp_path: Path) -> None:
    maps = example_maps()
    alone = ParameterMaps(
        specs=SPECS[:1],
        values=maps.values[..., :1],
        std=maps.std[..., :1],
        status=maps.status,
        affine=AFFINE,
    )
    write_maps(alone, tmp_path, {"sub": "01"}, Provenance(sources=("a",), algorithm="A fit"))
    with pytest.raises(InputError, match="no set with T1, T2 and PD"):
        unweight.synthesise(tmp_path, t1w=True)


def test_python_refuses_what_it_cannot_use(folder: Path) -> None:
    with pytest.raises(UsageError, match="no contrast is chosen"):
        unweight.synthesise(folder)
    with pytest.raises(UsageError, match="t1w has no TR"):
        unweight.synthesise(folder, t1w={"TR": 0.5})
    with pytest.raises(UsageError, match="there are 2 sets of maps"):
        unweight.synthesise(folder, t1w=True)
    with pytest.raises(ProtocolError, match="does not fit"):
        unweight.synthesise(folder, t2w={"tr": 0.3, "te": 0.2}, subject="01")
