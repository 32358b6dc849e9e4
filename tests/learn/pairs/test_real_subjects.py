"""A small simulated BIDS tree gives pairs, whatever the axes of its files; what gives none is told."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from tests.prepare.heads import rigid
from unweight.bids.nifti.image import image_bytes
from unweight.bids.raw import write_raw
from unweight.bids.read import FoundSeries
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError
from unweight.core.seeding import seeded_generator
from unweight.files.text_files import write_table
from unweight.fit.susceptibility import SusceptibilityFit
from unweight.learn.pairs.echo_channels import CHI, MASK
from unweight.learn.pairs.pair import Pair, make_pair, maps_of_echoes
from unweight.learn.pairs.real_pair import real_pair
from unweight.learn.pairs.real_subjects import LeftOut, PairedSubject, paired_subjects
from unweight.metrics.structures import LABELS, from_materials
from unweight.prepare.lattice import PlacedImage
from unweight.prepare.resample import resampled
from unweight.prepare.segmenters import ASEG
from unweight.susceptibility.closed_form import tkd
from unweight.synth.anatomy.nuclei import with_nuclei
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.protocols.standard import Scan, echo_scan, mprage
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.stream import scanned
from unweight.synth.tissue.compose import compose, with_phase
from unweight.synth.tissue.prior import TissuePrior

FIT = SusceptibilityFit(inversion=tkd)
MOVED = rigid((4.0, -6.0, 8.0), (9.0, -7.0, 5.0))
COMPLEX = MeasurementPrior(kind=SignalKind.COMPLEX, snr=(100.0, 100.0), moving=0.0, rounding=0.0)
PLAIN = MeasurementPrior(snr=(80.0, 80.0), moving=0.0)


@dataclass(frozen=True)
class Scanned:
    """What a scanner gives of one head with voxels of 3 mm."""

    echoes: Acquisition
    t1w: Acquisition
    labels: UInt8[Tensor, "x y z"]

    @property
    def affine(self) -> Float64[Tensor, "4 4"]:
        assert self.echoes.affine is not None
        return self.echoes.affine.double()


def scan(seed: int) -> Scanned:
    generator = seeded_generator(seed, "pairs of a test")
    head = procedural_head(
        generator, shape=(120, 144, 120), voxel_mm=(1.5, 1.5, 1.5), centre_mm=(0.0, -16.0, 12.0)
    )
    scene = compose(with_nuclei(head), (2, 2, 2), TissuePrior().draw(generator, 3.0), generator)
    scene = with_phase(scene, 3.0, generator)

    def stored(one: Scan, prior: MeasurementPrior) -> Acquisition:
        signal, _, _ = scanned(scene, one, prior, generator)
        return Acquisition(signal=signal, protocol=one.protocol, kind=prior.kind, affine=scene.affine)

    echoes = echo_scan([0.005, 0.012, 0.019, 0.026], 0.036, 0.26)
    return Scanned(
        stored(echoes, COMPLEX), stored(mprage(), PLAIN), from_materials(scene.fractions.argmax(-1))
    )


@pytest.fixture(scope="module")
def head() -> Scanned:
    return scan(0)


@pytest.fixture(scope="module")
def tree(head: Scanned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pairs") / "bids"
    write_raw(head.echoes, root, {"sub": "01"}, suffix="MEGRE")
    write_raw(head.t1w, root, {"sub": "01"}, suffix="T1w")
    write_table(root / "participants.tsv", [("sub-01", 62.5, "F")], ("participant_id", "age", "sex"))
    return root


@pytest.fixture(scope="module")
def subject(tree: Path) -> PairedSubject:
    (one,) = paired_subjects([tree]).subjects
    return one


@pytest.fixture(scope="module")
def truth(subject: PairedSubject) -> Pair:
    return real_pair(subject, FIT)


def t1w_file(folder: Path, values: Float[Tensor, "x y z"], affine: Float64[Tensor, "4 4"]) -> Path:
    path = folder / "elsewhere_T1w.nii.gz"
    path.write_bytes(image_bytes(values, affine))
    return path


def without_phase(subject: PairedSubject) -> PairedSubject:
    """The same, with nothing to find χ from, which takes the most time."""
    given = replace(subject.series.given, kind=SignalKind.MAGNITUDE)
    return replace(subject, series=replace(subject.series, given=given))


def likeness(one: Pair, other: Pair) -> float:
    inside = (one.channels[MASK] > 0) & (other.channels[MASK] > 0)
    both = torch.stack([pair.target[inside].float() for pair in (one, other)])
    return float(torch.corrcoef(both)[0, 1])


def named(root: Path, *names: str) -> Path:
    """A tree of which only names are looked at."""
    root.mkdir(exist_ok=True)
    (root / "dataset_description.json").write_text("{}")
    for name in names:
        entities = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
        folder = root.joinpath(*entities, "anat")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.nii.gz").touch()
    return root


def person_of(pair: Pair) -> dict[str, object]:
    """What a pair tells, but for its scan."""
    assert isinstance(pair.about["scan"], dict) and pair.about["scan"]["n_echoes"] >= 2
    return {name: value for name, value in pair.about.items() if name != "scan"}


def echoes_of(who: str, parts: Sequence[str] = ("mag", "phase")) -> list[str]:
    return [f"{who}_echo-{echo}_part-{part}_MEGRE" for echo in (1, 2) for part in parts]


def test_a_pair_is_found_and_made(subject: PairedSubject, truth: Pair, head: Scanned) -> None:
    assert (subject.label, subject.age, subject.male) == ("sub-01", 62.5, False)
    assert subject.t1w.name == "sub-01_T1w.nii.gz" and not subject.notes and subject.labels is None
    assert truth.name == "sub-01" and person_of(truth) == {"age": 62.5, "male": False}
    assert truth.voxel_mm == pytest.approx((3.0, 3.0, 3.0))
    assert bool((truth.channels[CHI] != 0).any()) and not bool(truth.labels.any())
    expected = make_pair(
        maps_of_echoes(head.echoes, FIT), head.t1w.signal[..., 0], head.affine, None, {"name": "x"}
    )
    assert likeness(truth, expected) > 0.9999
    torch.testing.assert_close(truth.channels, expected.channels, rtol=0, atol=0.02)


def test_a_moved_t1w_is_brought_back(
    subject: PairedSubject, truth: Pair, head: Scanned, tmp_path: Path
) -> None:
    values = head.t1w.signal[..., 0].float()
    moved = replace(without_phase(subject), t1w=t1w_file(tmp_path, values, MOVED @ head.affine))
    assert likeness(real_pair(moved), truth) > 0.97
    echo = PlacedImage(values=head.echoes.signal[..., 0].abs(), affine=head.affine)
    unmoved = resampled(PlacedImage(values=values, affine=MOVED @ head.affine), echo.lattice)
    magnitude = replace(head.echoes, signal=head.echoes.signal.abs(), kind=SignalKind.MAGNITUDE)
    maps = maps_of_echoes(magnitude)
    without = make_pair(maps, unmoved, head.affine, None, {"name": "without registration"})
    assert likeness(without, truth) < 0.5


def test_the_axes_of_files_do_not_matter_and_phase_can_be_absent(
    truth: Pair, head: Scanned, tmp_path: Path
) -> None:
    """Stored by sagittal slices, from the top down; the T1w otherwise, and labels in its space."""
    order = [1, 2, 0]
    flip = torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=torch.float64))
    signal = head.echoes.signal.abs().permute(*order, 3).flip(1).contiguous()
    flip[1, 3] = signal.shape[1] - 1
    affine = head.affine[:, [*order, 3]] @ flip
    echoes = replace(head.echoes, signal=signal, kind=SignalKind.MAGNITUDE, affine=affine)
    write_raw(echoes, tmp_path / "bids", {"sub": "01", "ses": "a"}, suffix="MEGRE")
    write_raw(
        replace(head.t1w, affine=MOVED @ head.affine),
        tmp_path / "bids",
        {"sub": "01", "ses": "a"},
        suffix="T1w",
    )
    derivatives = tmp_path / "labels" / "sub-01" / "ses-a" / "anat"
    derivatives.mkdir(parents=True)
    numbers = torch.tensor([ASEG[name][0] for name in LABELS], dtype=torch.float32)
    path = derivatives / "sub-01_ses-a_desc-synthseg_dseg.nii.gz"
    path.write_bytes(image_bytes(numbers[head.labels.long()], MOVED @ head.affine))
    (one,) = paired_subjects([tmp_path / "bids"], labels=tmp_path / "labels").subjects
    assert one.label == "sub-01_ses-a" and one.labels == path
    pair = real_pair(one)
    assert not bool(pair.channels[CHI].any()) and person_of(pair) == {}
    assert pair.target.shape == truth.target.shape
    assert likeness(pair, truth) > 0.97
    inside = truth.channels[MASK] > 0
    bright = pair.target[inside & (pair.labels == LABELS["white_matter"])].float().median()
    dark = pair.target[inside & (pair.labels == LABELS["csf"])].float().median()
    assert float(bright) > 0.9 > 0.5 > float(dark)
    path.write_bytes(image_bytes(head.labels.float(), head.affine))
    with pytest.raises(InputError, match=r"dseg.nii.gz: holds labels that FreeSurfer does not have: 1, 6"):
        real_pair(one)


@pytest.mark.parametrize("far_mm", [0.0, 300.0])
def test_another_head_is_refused(
    subject: PairedSubject, head: Scanned, tmp_path: Path, far_mm: float
) -> None:
    affine = head.affine.clone()
    affine[0, 3] += far_mm + 5.0
    other = replace(subject, t1w=t1w_file(tmp_path, scan(1).t1w.signal[..., 0].float(), affine))
    with pytest.raises(InputError, match=r"elsewhere_T1w.nii.gz: .*sub-01_echo-1_part-mag_MEGRE.nii.gz"):
        real_pair(other, FIT)


def test_half_a_t1w_is_refused(subject: PairedSubject, head: Scanned, tmp_path: Path) -> None:
    half = head.t1w.signal[:, :, 28:, 0].float()
    affine = head.affine.clone()
    affine[:3, 3] += 28 * affine[:3, 2]
    with pytest.raises(InputError, match=r"shows only \d+ % of the brain|hardly"):
        real_pair(replace(subject, t1w=t1w_file(tmp_path, half, affine)), FIT)


def test_what_is_no_magnitude_volume_is_refused(
    subject: PairedSubject, head: Scanned, tmp_path: Path
) -> None:
    signal = head.t1w.signal.float()
    path = t1w_file(tmp_path, signal[..., 0] - 1e6, head.affine)
    with pytest.raises(InputError, match="many negative values"):
        real_pair(replace(subject, t1w=path), FIT)
    both = np.repeat(signal.numpy(), 2, axis=-1)
    nib.save(nib.Nifti1Image(both, head.affine.numpy()), path)
    with pytest.raises(InputError, match="contains 2 volumes instead of one"):
        real_pair(replace(subject, t1w=path), FIT)
    path.with_name("elsewhere_T1w.json").write_text('{"ImageType": ["ORIGINAL", "PRIMARY", "P"]}')
    with pytest.raises(InputError, match=r"is a phase image\. Give the magnitude"):
        real_pair(replace(subject, t1w=path), FIT)


def test_nothing_is_written_into_the_tree(tree: Path, subject: PairedSubject, truth: Pair) -> None:
    assert truth.name == subject.label
    names = sorted(path.name for path in tree.rglob("*") if path.is_file() and "MEGRE" not in path.name)
    assert names == sorted(
        [
            "README.md",
            "dataset_description.json",
            "participants.tsv",
            "sub-01_T1w.json",
            "sub-01_T1w.nii.gz",
        ]
    )


def test_who_lacks_an_image_is_left_out(tmp_path: Path) -> None:
    root = named(
        tmp_path / "bids",
        *echoes_of("sub-01"),
        "sub-01_T1w",
        *echoes_of("sub-02"),
        "sub-03_T1w",
        *echoes_of("sub-04_ses-a"),
        "sub-04_ses-b_T1w",
        *echoes_of("sub-05"),
        "sub-05_ce-gadolinium_T1w",
        *echoes_of("sub-06", ("phase",)),
        "sub-06_T1w",
    )
    found = paired_subjects([root])
    assert [one.label for one in found.subjects] == ["sub-01"]
    assert found.left_out == (
        LeftOut("sub-02", "has no T1w"),
        LeftOut("sub-03", "has no MEGRE"),
        LeftOut("sub-04_ses-a", "has no T1w"),
        LeftOut("sub-04_ses-b", "has no MEGRE"),
        LeftOut("sub-05", "has no T1w"),
        LeftOut("sub-06", "its MEGRE series has no magnitude, only phase"),
    )
    with pytest.raises(
        InputError, match=r"no subject has one MEGRE series and one T1w \(sub-02: has no T1w\)"
    ):
        paired_subjects([root], subjects=["02"])


def test_of_several_runs_the_first_is_taken_and_nothing_else_is_guessed(tmp_path: Path) -> None:
    root = named(
        tmp_path / "bids",
        *echoes_of("sub-01", ("mag",)),
        *(f"sub-01_run-{run}_T1w" for run in (10, 2)),
        *echoes_of("sub-02"),
        *(f"sub-02_acq-{name}_T1w" for name in ("mprage", "space")),
    )
    found = paired_subjects([root])
    (one,) = found.subjects
    assert one.t1w.name == "sub-01_run-2_T1w.nii.gz"
    assert one.notes == ("the first run is taken of sub-01_run-2_T1w, sub-01_run-10_T1w",)
    assert one.series.given.kind is SignalKind.MAGNITUDE
    ((label, reason),) = found.left_out
    assert label == "sub-02"
    assert reason == (
        "has several T1w that differ by more than their run: sub-02_acq-mprage_T1w, sub-02_acq-space_T1w"
    )


def test_kind_is_seen_for_each(tmp_path: Path) -> None:
    root = named(tmp_path / "bids", *echoes_of("sub-01"), "sub-01_T1w")
    (one,) = paired_subjects([root]).subjects
    assert isinstance(one.series, FoundSeries) and one.series.given.kind is SignalKind.COMPLEX


def test_participants_are_read_as_far_as_they_are_told(tmp_path: Path) -> None:
    labels = [f"{number:02d}" for number in range(1, 6)]
    names = [name for label in labels for name in (*echoes_of(f"sub-{label}"), f"sub-{label}_T1w")]
    root = named(tmp_path / "bids", *names)
    rows = "participant_id\tsex\tage\nsub-01\tM\t30\nsub-02\tfemale\t41.5\nsub-03\tn/a\t89+\nsub-04\n"
    (root / "participants.tsv").write_text(rows)
    told = [(one.age, one.male) for one in paired_subjects([root]).subjects]
    assert told == [(30.0, True), (41.5, False), (89.0, None), (None, None), (None, None)]
    (root / "participants.tsv").write_bytes(b"who\xff\tage\n")
    found = paired_subjects([root])
    assert "has no column participant_id" in found.remarks[0] and found.subjects[0].age is None
    (root / "participants.tsv").unlink()
    assert paired_subjects([root]).subjects[0].age is None


def test_label_images_go_with_their_t1w(tmp_path: Path) -> None:
    root = named(tmp_path / "bids", *echoes_of("sub-01"), "sub-01_T1w", *echoes_of("sub-02"), "sub-02_T1w")
    labels = named(tmp_path / "labels", "sub-01_space-MNI_dseg", "sub-01_space-T1w_dseg")
    one, two = paired_subjects([root], labels=labels).subjects
    assert one.labels is not None and one.labels.name == "sub-01_space-T1w_dseg.nii.gz"
    assert two.labels is None and two.notes == ("no label image matches sub-02_T1w.nii.gz",)
    named(labels, "sub-01_desc-aseg_dseg")
    (left,) = paired_subjects([root], labels=labels).left_out
    assert left.label == "sub-01" and left.reason.startswith("several label images match sub-01_T1w")
    with pytest.raises(InputError, match="no such folder of labels"):
        paired_subjects([root], labels=tmp_path / "nowhere")


def test_files_outside_a_tree_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    with pytest.raises(InputError, match="is not a BIDS dataset"):
        paired_subjects([tmp_path])
