"""The Python API: lazy, the same files as the commands, arrays as well as files, errors with a remedy."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

import unweight
from tests.cli.conftest import demo  # noqa: F401 (a fixture)
from tests.cli.gradient_echoes import (
    AXIAL,
    TESLA,
    TIMES,
    assert_same_bytes,
    echoes,
    head,
    write_mask,
    write_tree,
)
from tests.cli.test_maps import plain
from tests.cli.test_t2 import TIMES as T2_TIMES
from tests.cli.test_t2 import decays, truth
from tests.cli.test_t2 import write_tree as write_spin_echoes
from tests.fit.acquisitions import SEVEN, acquire, parameters
from tests.fit.acquisitions import TIMES as INVERSION_TIMES
from unweight.bids.raw import write_raw
from unweight.cli.main import main
from unweight.core.acquisition import Acquisition
from unweight.core.errors import InputError, OutputError, UnweightError, UsageError
from unweight.core.protocol import protocol_from_values
from unweight.mapping.brain import MaskOptions
from unweight.prepare.brain_finder import BrainFinder, FoundBrain

REPETITION = ("RepetitionTimePreparation", "RepetitionTimeExcitation", "RepetitionTime")
PNG = b"\x89PNG"
Mapped = Callable[[Path, Path], unweight.MappedSeries]


class WholeVolume(BrainFinder):
    """Takes everything as brain."""

    def in_images(self, images: Sequence[torch.Tensor], affine: torch.Tensor) -> FoundBrain:
        return FoundBrain(mask=torch.ones(images[0].shape, dtype=torch.bool), how="all of it")

    def in_echoes(self, magnitude: torch.Tensor, affine: torch.Tensor) -> FoundBrain:
        return FoundBrain(mask=magnitude[..., 0] > 0, how="all of it")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with every kind of series, and masks of them."""
    root = tmp_path_factory.mktemp("study")
    theta = parameters(360, (0.5, 1.5)).to(torch.float64)
    theta[:, 1] *= 1000
    signal = acquire(theta, 10.0, complete=2.0).signal.float().reshape(12, 10, 3, 7)
    write_raw(Acquisition(signal=signal, protocol=SEVEN, affine=torch.eye(4)), root / "ir", {"sub": "01"})
    write_tree(root / "gre", echoes(), {"sub": "01"})
    write_spin_echoes(root / "se", decays(2.0))
    write_mask(root / "brain.nii.gz")
    write_mask(root / "tube.nii.gz", truth()[1])
    words = ["simulate", str(root / "routine"), "--contrast", "routine", "--slices", "2", "--quiet"]
    assert main(words) == 0
    return root


def test_import_is_light_and_names_are_lazy() -> None:
    code = (
        "import sys, unweight\n"
        "assert 'torch' not in sys.modules and 'map_t1' in dir(unweight)\n"
        "from unweight import map_t1, map_t2, map_weighted, map_r2star, map_qsm\n"
        "from unweight import synthesise_mprage, analyse_phantom\n"
        "assert 'torch' in sys.modules\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    with pytest.raises(AttributeError, match="map_t9"):
        unweight.map_t9  # type: ignore[attr-defined]  # noqa: B018


SAME: dict[str, tuple[list[str], Mapped]] = {
    "t1": (
        ["t1", "ROOT/ir", "--method", "ml"],
        lambda root, _: unweight.map_t1(str(root / "ir"), method="ml"),
    ),
    "r2star": (
        ["r2star", "ROOT/gre", "--mask", "ROOT/brain.nii.gz"],
        lambda root, _: unweight.map_r2star(root / "gre", mask=root / "brain.nii.gz"),
    ),
    "t2": (
        ["t2", "ROOT/se", "--mask", "ROOT/tube.nii.gz", "--skip-first", "0"],
        lambda root, _: unweight.map_t2(root / "se", mask=root / "tube.nii.gz", skip_first=0),
    ),
    "qsm": (
        ["qsm", "ROOT/gre", "--mask", "ROOT/brain.nii.gz", "--inversion", "tkd"],
        lambda root, _: unweight.map_qsm(root / "gre", mask=root / "brain.nii.gz", inversion="tkd"),
    ),
    "mprage": (
        ["mprage", "ROOT/gre", "--mask", "ROOT/brain.nii.gz", "--method", "unet"],
        lambda root, _: unweight.synthesise_mprage(root / "gre", mask=root / "brain.nii.gz", method="unet"),
    ),
    "maps": (
        ["maps", "ROOT/routine/bids", "--method", "physics"],
        lambda root, _: unweight.map_weighted(root / "routine" / "bids", method="physics"),
    ),
}


@pytest.mark.parametrize("command", SAME)
def test_save_writes_the_files_of_the_command(study: Path, tmp_path: Path, command: str) -> None:
    words, mapped = SAME[command]
    told, saved = tmp_path / "command", tmp_path / "api"
    called = [word.replace("ROOT", str(study)) for word in words]
    assert main([*called, "-o", str(told), "--quiet"]) == 0
    result = mapped(study, tmp_path)
    sidecar = result.save(saved)
    assert sidecar.is_file() and sidecar.suffix == ".json"
    assert_same_bytes(told, saved)


def test_what_comes_back_can_be_used_and_shown(study: Path, tmp_path: Path) -> None:
    images = sorted((study / "ir" / "sub-01" / "anat").glob("*_IRT1.nii.gz"))
    t1 = unweight.map_t1(images, method="ml")
    assert t1.value("T1").shape == t1.std("T1").shape == t1.usable.shape == (12, 10, 3)
    text = repr(t1)
    assert "T1 [s]: median" in text and "inversion recovery, 12 x 10 x 3 voxels" in text
    assert t1._repr_png_().startswith(PNG)
    first, named = t1.to_nifti(), t1.to_nifti("T1")
    assert np.array_equal(first.get_fdata(), named.get_fdata(), equal_nan=True)
    assert np.array_equal(named.get_fdata(), t1.value("T1").float().numpy(), equal_nan=True)
    t1.save(tmp_path, figures=False, report=False)
    stored = nib.load(next(tmp_path.rglob("sub-01_T1map.nii.gz")))
    assert np.array_equal(stored.get_fdata(), named.get_fdata(), equal_nan=True)
    assert np.array_equal(stored.affine, named.affine)
    assert not list(tmp_path.rglob("*.png")) and not list(tmp_path.glob("*.html"))
    with pytest.raises(UsageError, match="There are T1, T1 std"):
        t1.to_nifti("T9")


def test_maps_of_other_images_are_kept(study: Path, tmp_path: Path) -> None:
    array = acquire(parameters(8, (0.5, 1.5)), 0.02).signal
    times: dict[str, Any] = {"inversion_time": INVERSION_TIMES, "repetition_time": 10.0, "method": "ml"}
    unweight.map_t1(array, **times).save(tmp_path, report=False)
    unweight.map_t1(array, **times).save(tmp_path, report=False)  # of the same
    with pytest.raises(OutputError, match="other images"):
        unweight.map_t1(1.1 * array, **times).save(tmp_path)
    unweight.map_t1(1.1 * array, **times, subject="02").save(tmp_path, report=False)


@pytest.mark.parametrize("of", [np.asarray, torch.as_tensor])
def test_arrays_give_the_maps_of_files(study: Path, of: Callable[[Any], Any]) -> None:
    images = sorted((study / "ir" / "sub-01" / "anat").glob("*_IRT1.nii.gz"))
    stacked = of(np.stack([np.asarray(nib.load(path).dataobj) for path in images], axis=-1))
    affine = nib.load(images[0]).affine
    from_files = unweight.map_t1(images, method="ml")
    from_array = unweight.map_t1(
        stacked, inversion_time=INVERSION_TIMES, repetition_time=10.0, affine=affine, method="ml"
    )
    assert torch.equal(from_files.value("T1").nan_to_num(), from_array.value("T1").nan_to_num())
    assert np.array_equal(from_array.to_nifti().affine, affine)
    assert from_array.provenance.sources[0].startswith("sha256:")


def test_echoes_as_arrays() -> None:
    signal, mask = echoes(), head().brain
    rates = unweight.map_r2star(signal.abs(), echo_time=TIMES, mask=mask, affine=AXIAL)
    same = unweight.map_r2star(signal, echo_time=TIMES, mask=mask.numpy(), affine=AXIAL)
    assert torch.equal(rates.value("R2star").nan_to_num(), same.value("R2star").nan_to_num())
    known: dict[str, Any] = {
        "echo_time": TIMES,
        "field_strength": TESLA,
        "mask": mask,
        "affine": AXIAL,
        "inversion": "tkd",
    }
    chi = unweight.map_qsm(signal, **known)
    apart = unweight.map_qsm(signal.abs(), signal.angle(), **known)
    turned = unweight.map_qsm(signal.conj().resolve_conj(), invert_phase=True, **known)
    assert torch.equal(chi.value("Chi").nan_to_num(), turned.value("Chi").nan_to_num())
    difference = (chi.value("Chi") - apart.value("Chi")).nan_to_num().abs().max()
    assert float(difference) < 1e-3  # polar form rounds
    t2, inside = truth()
    times = unweight.map_t2(decays(), echo_time=T2_TIMES, mask=inside)
    usable = times.usable
    assert torch.allclose(times.value("T2")[usable], t2[usable], rtol=1e-3)


def test_mprage_of_arrays(study: Path) -> None:
    image = unweight.synthesise_mprage(
        echoes(),
        echo_time=TIMES,
        repetition_time=0.036,
        flip_angle=15.0,
        affine=AXIAL,
        mask=head().brain,
        method="unet",
        field_strength=TESLA,
    )
    files = unweight.synthesise_mprage(
        study / "gre", mask=study / "brain.nii.gz", method="unet", b0_direction=(0, 0, 1)
    )
    # Files hold magnitude and phase as integers or single precision, so that the two are not the same.
    difference = (image.value("T1w") - files.value("T1w")).nan_to_num().abs().max()
    assert float(difference) < 0.05
    rates = unweight.map_r2star(echoes(), echo_time=TIMES, mask=head().brain).value("R2star").float()
    alone = unweight.synthesise_mprage(
        echoes().abs(),
        echo_time=TIMES,
        repetition_time=0.036,
        flip_angle=15.0,
        affine=AXIAL,
        mask=head().brain,
        method="unet",
        r2star=rates.nan_to_num(),
    )
    assert alone.maps.notes["told_chi"] == 0 and alone.maps.notes["told_r2star"] == 1


def test_weighted_arrays_and_named_files(study: Path) -> None:
    anat = next((study / "routine" / "bids").glob("sub-*/anat"))
    files = {name: next(anat.glob(f"*_{name}.nii.gz")) for name in ("T1w", "T2w", "FLAIR")}
    truth_map = nib.load(plain(study / "routine" / "truth", "T1map"))
    mask = np.nan_to_num(np.asarray(truth_map.dataobj)) > 0.6
    scans = {}
    for name, path in files.items():
        fields = json.loads(Path(str(path).replace(".nii.gz", ".json")).read_text())
        scans[name.lower()] = unweight.WeightedScan(
            image=np.asarray(nib.load(path).dataobj),
            repetition_time=next(fields[key] for key in REPETITION if key in fields),
            echo_time=fields["EchoTime"],
            inversion_time=fields.get("InversionTime"),
            flip_angle=fields.get("FlipAngle"),
            readout="spin-echo" if name == "T1w" else "turbo-spin-echo",
        )
    arrays = unweight.map_weighted(
        **scans, field_strength=3.0, affine=truth_map.affine, mask=mask, method="physics"
    )
    assert set(arrays.images()) >= {"T1", "T2", "PD", "brain"}
    found = arrays.value("T1")[arrays.usable]
    assert 0.3 < float(found.median()) < 3.0
    named = unweight.map_weighted(list(files.values()), method="physics")
    also = unweight.map_weighted(
        t1w=files["T1w"], t2w=str(files["T2w"]), flair=files["FLAIR"], method="physics"
    )
    assert torch.equal(named.value("T1").nan_to_num(), also.value("T1").nan_to_num())


def test_the_method_of_the_brain_mask_is_an_option(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of files and of arrays; the finder is replaced by one that takes the whole volume."""
    asked = []

    def whole(self: MaskOptions) -> BrainFinder:
        asked.append((self.mask_method, self.mask_border))
        return WholeVolume()

    monkeypatch.setattr(MaskOptions, "finder", whole)
    files = sorted((study / "routine" / "bids").rglob("anat/*_T?w.nii.gz"))
    maps = unweight.map_weighted(files, method="physics", mask_method="network", mask_border=2.0)
    assert asked == [("network", 2.0)]
    assert maps.provenance.settings["BrainMask"] == "all of it"
    spin = {"repetition_time": 0.6, "echo_time": 0.01, "readout": "spin-echo"}
    turbo = {"repetition_time": 5.0, "echo_time": 0.1, "readout": "turbo-spin-echo"}
    image = np.random.default_rng(0).uniform(1, 2, (8, 8, 4))
    unweight.map_weighted(
        t1w=unweight.WeightedScan(image=image, **spin),
        t2w=unweight.WeightedScan(image=image, **turbo),
        field_strength=3.0,
        method="physics",
        mask_method="network",
    )
    assert asked[1:] == [("network", 0.0)]
    unweight.map_qsm(study / "gre", mask_method="network", mask_border=-1.0)
    assert asked[2:] == [("network", -1.0)]
    with pytest.raises(UsageError, match="cannot be combined"):
        unweight.map_qsm(study / "gre", mask=study / "brain.nii.gz", mask_method="network", mask_border=1.0)


def test_images_after_a_contrast_agent_are_accepted_on_demand(study: Path, tmp_path: Path) -> None:
    anat = next((study / "routine" / "bids").rglob("anat"))
    for path in anat.iterdir():
        label = path.name.replace("_T1w", "_ce-gadolinium_T1w")
        shutil.copy(path, tmp_path / label)
    t1w, t2w = (next(tmp_path.glob(f"*_{name}.nii.gz")) for name in ("T1w", "T2w"))
    with pytest.raises(InputError, match="contrast agent"):
        unweight.map_weighted(t1w=t1w, t2w=t2w, method="physics")
    maps = unweight.map_weighted(t1w=t1w, t2w=t2w, method="physics", contrast_agent=True)
    assert bool(maps.usable.any())


def test_phantom_of_maps_in_memory_and_on_disk(demo: Path, tmp_path: Path) -> None:  # noqa: F811
    t1 = unweight.map_t1(demo / "bids")
    (plate,) = unweight.analyse_phantom(t1, version=2)
    (stored,) = unweight.analyse_phantom(demo / "maps", version=2)
    assert plate.rows()[0][0] == 1 and len(plate.rows()) == 14
    assert plate.shown_rows() == stored.shown_rows()
    assert "T1 of region ms" in repr(plate) and plate._repr_png_().startswith(PNG)
    table, figure = stored.save(tmp_path)
    for path in (table, figure):
        assert path.read_bytes() == (demo / "maps" / path.relative_to(tmp_path)).read_bytes()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda _: unweight.map_t1(np.ones((4, 4, 5))), UsageError, "inversion_time and repetition_time"),
        (lambda _: unweight.map_qsm(np.ones((4, 4, 5))), UsageError, "echo_time and field_strength"),
        (lambda _: unweight.map_t1([]), InputError, "no images"),
        (lambda root: unweight.map_t1(root / "nothing.nii"), UnweightError, "nothing.nii"),
        (
            lambda root: unweight.map_t1(root / "ir", affine=np.eye(4)),
            UsageError,
            "contain their own affine",
        ),
        (
            lambda root: unweight.map_t1(root / "ir", mask=np.ones(3)),
            UsageError,
            "Give files only, or arrays only",
        ),
        (lambda root: unweight.map_t1(root / "ir", subject="../x"), InputError, "label"),
        (
            lambda _: unweight.map_r2star(np.ones((4, 4, 5)), echo_time=(0.01, 0.02)),
            InputError,
            "5 volumes",
        ),
        (lambda _: unweight.map_weighted(), UsageError, "give either"),
        (
            lambda _: unweight.map_weighted(
                t1w=np.ones((3, 3, 3)), t2w=np.ones((3, 3, 3)), field_strength=3.0
            ),
            UsageError,
            "repetition_time, echo_time, readout",
        ),
    ],
)
def test_messages(
    study: Path, call: Callable[[Path], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(study)


def test_several_series_are_not_one(study: Path, tmp_path: Path) -> None:
    for label in ("01", "02"):
        write_spin_echoes_of(tmp_path, label)
    with pytest.raises(UsageError, match=r"2 series \(sub-01.*, sub-02.*\)"):
        unweight.map_t2(tmp_path)
    assert unweight.map_t2(tmp_path, subject="sub-02").label.startswith("sub-02")


def write_spin_echoes_of(root: Path, label: str) -> None:
    measured = Acquisition(
        signal=decays(2.0),
        protocol=protocol_from_values(echo_time=list(T2_TIMES), field_strength=3.0),
        affine=torch.from_numpy(AXIAL),
    )
    write_raw(measured, root, {"sub": label}, suffix="MESE")
