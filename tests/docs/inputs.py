"""Small files under the names that the documentation uses for people's own: `bids_tree`, `ir.nii.gz` …."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from tests.bids.exam_dicom import LOCALIZER, ExamSeries, write_exam
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.write import write_maps
from unweight.bids.raw import write_raw
from unweight.cli.main import main
from unweight.core.acquisition import Acquisition
from unweight.core.maps import assemble_maps
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.learn.weighted.estimator import SPECS
from unweight.signals.noise import Rician
from unweight.signals.spin_echo import SpinEcho
from unweight.signals.variable_flip_angle import VariableFlipAngle
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.tissue.materials import MATERIALS

MM = 4.0
SHAPE = (45, 54, 45)
PEOPLE = ("01", "02")
ECHOES = (0.004, 0.008, 0.012)
INVERSIONS = (0.05, 0.4, 1.1, 2.5)


def make_inputs(root: Path) -> None:
    """Make all but the phantom, once; a test copies what its command names."""
    _labels(root)
    tree = root / "bids_tree"
    for contrast, people in (("ir", PEOPLE), ("routine", PEOPLE[:1]), ("megre", PEOPLE[:1])):
        _simulate(root, contrast, len(people))
        for new, old in zip(people, ("001", "002"), strict=False):
            for path in sorted((root / contrast / "bids" / f"sub-{old}" / "anat").iterdir()):
                target = tree / f"sub-{new}" / "anat" / path.name.replace(f"sub-{old}", f"sub-{new}")
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    shutil.copy(path, target)
    shutil.copy(root / "ir/bids/dataset_description.json", tree)
    _spin_echoes(tree)
    _flip_angles(root, tree)
    anat = tree / "sub-01" / "anat"
    shutil.copytree(anat, root / "mese_folder", ignore=_all_but("MESE"))
    shutil.copytree(anat, root / "dicom_folder", ignore=_all_but("IRT1"))
    _exam(root / "exam_folder", anat)
    _files(root, anat)
    _weighted_maps(root)
    assert main(["init", str(root / "unweight.toml"), "--quiet"]) == 0


def make_phantom(root: Path) -> None:
    """Make the images and maps of the phantom, for the few commands that need them."""
    if not (root / "demo").exists():
        assert main(["demo", "-o", str(root / "demo"), "--phantom-only", "--quiet"]) == 0


def make_maps(root: Path) -> None:
    """Make maps of all subjects, for the commands that look at them."""
    if not (root / "made").exists():
        words = ["run", str(root / "bids_tree"), str(root / "made"), "participant", "--memory", "8"]
        only = ["--only", "t1", "--set", "t1.method=ml", "--no-report", "--quiet"]
        assert main([*words, *only]) == 0


def _labels(root: Path) -> None:
    head = procedural_head(
        seeded_generator(0, "documented"), shape=SHAPE, voxel_mm=(MM, MM, MM), centre_mm=(0.0, -16.0, 12.0)
    )
    nib.save(nib.Nifti1Image(head.labels.numpy(), head.affine.numpy()), root / "labels.nii.gz")
    (root / "labels.json").write_text(json.dumps(dict(enumerate(MATERIALS))))


def _simulate(root: Path, contrast: str, n: int) -> None:
    labels = ["--label-map", str(root / "labels.nii.gz"), str(root / "labels.json")]
    words = ["simulate", str(root / contrast), "--contrast", contrast, "--n-subjects", str(n)]
    words += ["--slices", "4"] if contrast == "ir" else []
    assert main([*words, *labels, "--snr", "80", "80", "--quiet"]) == 0


def _spin_echoes(tree: Path) -> None:
    """Write a multi-echo spin echo of two tissues and a frame of noise."""
    times = [0.012 * (number + 1) for number in range(8)]
    protocol = protocol_from_values(echo_time=times, repetition_time=[3.0] * 8)
    model, theta = SpinEcho(), torch.tensor([1.0, 0.08, 1000.0]).expand(20, 20, 4, 3)
    signal = torch.zeros(40, 40, 4, 8)
    signal[10:30, 10:30] = model(theta, protocol)
    drawn = Rician(sigma=10.0).draw(signal, seeded_generator(0, "spin echoes"))
    acquisition = Acquisition(signal=drawn, protocol=protocol, affine=torch.eye(4))
    write_raw(acquisition, tree, {"sub": "01"}, suffix="MESE")


def _flip_angles(root: Path, tree: Path) -> None:
    """Write a series of flip angles into the tree, two of them as files, and a map of B1."""
    for angles, repetition_time in (((3.0, 8.0, 20.0), 0.02), ((3.0, 20.0), 0.015)):
        protocol = protocol_from_values(
            flip_angle=[math.radians(angle) for angle in angles],
            repetition_time=[repetition_time] * len(angles),
        )
        theta = torch.tensor([1.0, 20_000.0]).expand(20, 20, 4, 2)
        signal = torch.zeros(40, 40, 4, len(angles))
        signal[10:30, 10:30] = VariableFlipAngle()(theta, protocol)
        drawn = Rician(sigma=5.0).draw(signal, seeded_generator(0, "flip angles"))
        if len(angles) == 3:
            acquisition = Acquisition(signal=drawn, protocol=protocol, affine=torch.eye(4))
            write_raw(acquisition, tree, {"sub": "01"}, suffix="VFA")
            continue
        for name, volume in zip(("angle3", "angle20"), drawn.unbind(-1), strict=True):
            nib.save(nib.Nifti1Image(volume.numpy(), np.eye(4)), root / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(np.ones((40, 40, 4), np.float32), np.eye(4)), root / "b1.nii.gz")


def _exam(folder: Path, anat: Path) -> None:
    """Write T1w, T2w and FLAIR as the DICOM series of one exam, beside a localizer."""
    series = [LOCALIZER]
    for number, name in ((4, "T1w"), (7, "T2w"), (9, "FLAIR")):
        volume = nib.as_closest_canonical(nib.load(anat / f"sub-01_{name}.nii.gz"))
        fields = json.loads((anat / f"sub-01_{name}.json").read_text())
        fields["RepetitionTime"] = fields.get("RepetitionTimePreparation") or fields.get(
            "RepetitionTimeExcitation"
        )
        times = {
            key: 1000 * fields[key]
            for key in ("RepetitionTime", "EchoTime", "InversionTime")
            if key in fields
        }
        values = np.asarray(volume.dataobj)
        scaled = 2000 * values.clip(min=0) / np.quantile(values, 0.999)
        codes = fields.get("ScanningSequence") or (
            "GR" if name == "T1w" and "InversionTime" in times else "SE"
        )
        tags = times | {"ScanningSequence": codes.split("\\"), "FlipAngle": fields.get("FlipAngle", 90.0)}
        tags |= {"EchoTrainLength": 16} if name != "T1w" else {}
        edge = float(volume.header.get_zooms()[0])
        series.append(
            ExamSeries(number=number, description=name, tags=tags, volume=scaled.clip(max=4000), edge=edge)
        )
    write_exam(folder, series)


def _files(root: Path, anat: Path) -> None:
    """Write single files, with and without sidecars."""
    inversions = [nib.load(anat / f"sub-01_inv-{number}_IRT1.nii.gz") for number in (1, 4, 6, 7)]
    _stack(root / "ir.nii.gz", inversions)
    _stack(root / "scan.nii.gz", inversions)
    spin_echoes = [nib.load(anat / f"sub-01_echo-{number}_MESE.nii.gz") for number in (1, 2, 3, 4)]
    _stack(root / "mese.nii.gz", spin_echoes)
    for name in ("T1w", "T2w", "FLAIR"):
        for ending in ("nii.gz", "json"):
            shutil.copy(anat / f"sub-01_{name}.{ending}", root / f"{name}.{ending}")
    for name, source in (("a", "T1w"), ("b", "T2w"), ("t1", "T1w"), ("t2", "T2w")):
        shutil.copy(root / f"{source}.nii.gz", root / f"{name}.nii.gz")
    for part, name in (("mag", "mag_4d"), ("phase", "phase_4d")):
        echoes = [nib.load(anat / f"sub-01_echo-{number}_part-{part}_MEGRE.nii.gz") for number in (1, 2, 3)]
        _stack(root / f"{name}.nii.gz", echoes)
    labels = nib.load(root / "labels.nii.gz")
    numbers = np.asarray(labels.dataobj)
    nib.save(
        nib.Nifti1Image(((numbers > 0) & (numbers < 11)).astype(np.uint8), labels.affine),
        root / "brain.nii.gz",
    )
    nib.save(nib.Nifti1Image(numbers, labels.affine), root / "dseg.nii.gz")


def _weighted_maps(root: Path) -> None:
    """Write a set of T1, T2 and PD as `unweight maps` does, and copies of its maps under plain names."""
    theta = torch.tensor([1.0, 0.08, 0.8]).expand(6, 6, 4, 3).clone()
    status = torch.zeros(theta.shape[:-1], dtype=torch.uint8)
    maps = assemble_maps(SPECS, theta, 0.05 * theta, status, like=theta, affine=torch.eye(4).double())
    provenance = Provenance(sources=("documented",), algorithm="Constants")
    written = write_maps(maps, root / "weighted_maps", {"sub": "01"}, provenance)
    for name in ("T1", "T2", "PD"):
        shutil.copy(written.images[name], root / f"{name}map.nii.gz")


def _stack(path: Path, images: list[nib.Nifti1Image]) -> None:
    data = np.stack([image.get_fdata(dtype=np.float32) for image in images], axis=-1)
    nib.save(nib.Nifti1Image(data, images[0].affine), path)


def _all_but(suffix: str) -> Callable[[str, list[str]], list[str]]:
    def ignored(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if suffix not in name]

    return ignored
