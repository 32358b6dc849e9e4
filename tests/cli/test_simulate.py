import csv
import json
from pathlib import Path

import nibabel as nib
import pytest
import torch

from unweight.bids.derivatives.read import find_maps, read_maps
from unweight.bids.read import find_inputs
from unweight.bids.series.overrides import ProtocolOverrides
from unweight.cli.main import main
from unweight.core.acquisition import SignalKind
from unweight.signals.parameters import PD, T1, B
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.tissue.materials import MATERIALS


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    words = ["simulate", str(out), "--n-subjects", "2", "--slices", "2", "--snr", "80", "80", "--quiet"]
    assert main(words) == 0
    return out


def test_simulated_study_is_read_and_mapped_like_any_other(study: Path, tmp_path: Path) -> None:
    assert main(["t1", str(study / "bids"), "-o", str(tmp_path), "--quiet", "--no-figures"]) == 0
    for number in ("001", "002"):
        truth, found = (
            read_maps(root, root / f"sub-{number}/anat/sub-{number}_T1map.json", (T1, PD, B)).maps
            for root in (study / "truth", tmp_path)
        )
        both = truth.usable & found.usable & (truth.value("T1") > 0.3) & (truth.value("T1") < 1.6)
        assert int(both.sum()) > 5000
        ratio = found.value("T1")[both] / truth.value("T1")[both]
        assert abs(float(ratio.median()) - 1) < 0.06
        density = found.value("PD")[both] / truth.value("PD")[both]
        assert abs(float(density.median()) - 1) < 0.08


def test_participants_are_listed(study: Path) -> None:
    with (study / "bids" / "participants.tsv").open() as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    assert [row["participant_id"] for row in rows] == ["sub-001", "sub-002"]
    assert all(20 <= float(row["age"]) <= 80 for row in rows)


def test_same_seed_same_bytes(study: Path, tmp_path: Path) -> None:
    words = [
        "simulate",
        str(tmp_path),
        "--n-subjects",
        "1",
        "--slices",
        "2",
        "--snr",
        "80",
        "80",
        "--quiet",
    ]
    assert main(words) == 0
    for path in sorted((tmp_path / "bids" / "sub-001" / "anat").iterdir()):
        assert path.read_bytes() == (study / "bids" / "sub-001" / "anat" / path.name).read_bytes()


def test_a_study_is_not_mixed_with_another(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(study), "--slices", "2"]) == 2
    assert "already contains a study" in capsys.readouterr().err


def test_truth_names_its_images(study: Path) -> None:
    sidecar = json.loads((study / "truth/sub-001/anat/sub-001_T1map.json").read_text())
    for source in sidecar["Sources"]:
        assert (study / "bids" / source.removeprefix("bids:raw:")).is_file()
    assert sidecar["unweight"]["Settings"]["slices"] == 2


def test_routine_contrasts_and_gradient_echoes(tmp_path: Path) -> None:
    words = ["simulate", str(tmp_path / "a"), "--slices", "1", "--contrast", "routine", "--quiet"]
    assert main([*words, "--lesions", "--protocol", "random"]) == 0
    names = {path.name for path in (tmp_path / "a" / "bids" / "sub-001" / "anat").glob("*.nii.gz")}
    assert names == {"sub-001_T1w.nii.gz", "sub-001_T2w.nii.gz", "sub-001_FLAIR.nii.gz"}
    assert len(find_maps(tmp_path / "a" / "truth", "T1map")) == 1


def test_gradient_echoes_are_complex(tmp_path: Path) -> None:
    """A small head from a label image, for the field needs a whole one."""
    head = procedural_head(torch.Generator().manual_seed(0), shape=(45, 54, 45), voxel_mm=(4.0, 4.0, 4.0))
    nib.save(nib.Nifti1Image(head.labels.numpy(), head.affine.numpy()), tmp_path / "head.nii.gz")
    names = {str(number): name for number, name in enumerate(MATERIALS)}
    (tmp_path / "names.json").write_text(json.dumps(names))
    labels = ["--label-map", str(tmp_path / "head.nii.gz"), str(tmp_path / "names.json")]
    assert main(["simulate", str(tmp_path), "--contrast", "megre", "--quiet", *labels]) == 0
    wanted = ProtocolOverrides(kind=SignalKind.COMPLEX)
    found = find_inputs([tmp_path / "bids"], wanted, suffixes=("MEGRE",))
    acquisition = found[0].read().acquisition
    assert acquisition.signal.is_complex()
    assert acquisition.protocol.n_volumes == 8


def test_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(tmp_path), "--slices", "0"]) == 2
    assert "--slices 0" in capsys.readouterr().err
    assert main(["simulate", str(tmp_path), "--slices", "2", "--contrast", "megre"]) == 2
    assert "--slices cannot be used with megre" in capsys.readouterr().err
    assert main(["simulate", str(tmp_path), "--brainweb-dir", str(tmp_path)]) == 2
    assert "contains no BrainWeb head" in capsys.readouterr().err
