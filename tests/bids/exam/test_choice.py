"""Which image of a contrast is taken, and the reason against each of the others."""

from pathlib import Path

import numpy as np
import pytest

from tests.bids.files import write_nifti
from unweight.bids.exam.choice import Candidate, ExamChoice, Fitness, Judgement, by_timings, choose
from unweight.bids.exam.images import candidates_of_files
from unweight.bids.sidecar import Sidecar

FIELDS = {
    "T1w": {"ScanningSequence": "SE", "RepetitionTime": 0.6, "EchoTime": 0.012, "MagneticFieldStrength": 3},
    "T2w": {"ScanningSequence": "SE", "RepetitionTime": 5.0, "EchoTime": 0.1, "MagneticFieldStrength": 3},
    "FLAIR": {"ScanningSequence": "SE\\IR", "RepetitionTime": 9.0, "EchoTime": 0.1, "InversionTime": 2.5},
}


def image(
    folder: Path, name: str, contrast: str, voxel: tuple[float, float, float] = (8, 8, 12), **fields: object
) -> Path:
    """Write an image of 192 x 192 x 144 mm whose name tells nothing, unless it ends in a contrast."""
    affine = np.diag([*voxel, 1.0])
    shape = tuple(round(edge / step) for edge, step in zip((192, 192, 144), voxel, strict=True))
    kept = {key: value for key, value in (FIELDS[contrast] | fields).items() if value is not None}
    return write_nifti(folder / f"{name}.nii.gz", np.ones(shape, "f4"), kept, affine)


def chosen(paths: list[Path], **options: bool) -> ExamChoice:
    return choose(candidates_of_files(paths), by_timings({}), **options)


def against(choice: ExamChoice) -> dict[str, str]:
    return {item.label: item.reason for item in choice.left_out}


def test_one_of_each_needs_no_choice(tmp_path: Path) -> None:
    choice = chosen([image(tmp_path, name, name) for name in FIELDS])
    assert list(choice.chosen) == ["T1w", "T2w", "FLAIR"]
    assert choice.left_out == () and set(choice.reasons.values()) == {"the only one"}


@pytest.mark.parametrize(
    ("worse", "reason"),
    [
        ({"RepetitionTime": None}, "RepetitionTime"),
        ({"ImageType": ["DERIVED", "PRIMARY"]}, "computed from other images"),
        ({"voxel": (8.0, 8.0, 24.0)}, "larger"),
        ({}, "further run"),
    ],
)
def test_the_better_of_two_is_taken_with_the_reason(
    tmp_path: Path, worse: dict[str, object], reason: str
) -> None:
    paths = [image(tmp_path, "a_T1w", "T1w"), image(tmp_path, "b_T1w", "T1w", **worse)]  # type: ignore[arg-type]  # a voxel or a field
    choice = chosen([*(paths if not worse else reversed(paths)), image(tmp_path, "c", "T2w")])
    assert choice.chosen["T1w"].label == "a_T1w.nii.gz"
    assert reason in against(choice)["b_T1w.nii.gz"]
    assert reason in choice.reasons["T1w"]


def test_of_repeated_images_the_last_of_an_exam_as_scanned_is_taken(tmp_path: Path) -> None:
    paths = [image(tmp_path, name, "T1w", SeriesNumber=number) for name, number in (("a", 3), ("b", 9))]
    assert chosen(paths, last_run=True).chosen["T1w"].label == "b.nii.gz"
    assert chosen(paths).chosen["T1w"].label == "a.nii.gz"


def test_a_slab_and_a_normalised_image(tmp_path: Path) -> None:
    slab = write_nifti(
        tmp_path / "slab.nii", np.ones((24, 24, 4), "f4"), FIELDS["T2w"], np.diag([8, 8, 4, 1.0])
    )
    plain = image(tmp_path, "plain", "T2w", ImageType=["ORIGINAL", "PRIMARY", "M", "ND"])
    norm = image(tmp_path, "norm", "T2w", ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "NORM"])
    choice = chosen([slab, plain, norm])
    assert choice.chosen["T2w"].label == "norm.nii.gz"
    assert "16 mm only" in against(choice)["slab.nii"]
    assert "normalise" in against(choice)["plain.nii.gz"]


def test_the_first_echo_of_several_is_taken(tmp_path: Path) -> None:
    paths = [
        image(tmp_path, f"e{number}", "T1w", EchoNumber=number, EchoTime=0.004 * number)
        for number in (2, 1)
    ]
    assert chosen(paths).chosen["T1w"].label == "e1.nii.gz"


def test_a_contrast_agent_is_refused_unless_asked_for(tmp_path: Path) -> None:
    after = image(tmp_path, "after", "T1w", ContrastBolusIngredient="GADOLINIUM")
    others = [image(tmp_path, name, name) for name in ("T2w", "FLAIR")]
    choice = chosen([after, *others])
    assert "T1w" not in choice.chosen and "contrast agent" in against(choice)["after.nii.gz"]
    assert chosen([after, *others], contrast_agent=True).chosen["T1w"].label == "after.nii.gz"
    before = image(tmp_path, "before", "T1w")
    assert chosen([after, before, *others], contrast_agent=True).chosen["T1w"].label == "before.nii.gz"


def test_a_contrast_that_cannot_be_used_is_left_out_where_two_remain(tmp_path: Path) -> None:
    def judge(contrast: str, _: Sidecar) -> Judgement:
        if contrast == "FLAIR":
            return Judgement(fitness=Fitness.UNSUPPORTED, problem="TE is outside")
        return Judgement(fitness=Fitness.READY)

    three = candidates_of_files([image(tmp_path, name, name) for name in FIELDS])
    choice = choose(three, judge)
    assert list(choice.chosen) == ["T1w", "T2w"]
    assert against(choice) == {"FLAIR.nii.gz": "TE is outside"}
    two = choose(three[1:], judge)
    assert list(two.chosen) == ["T2w", "FLAIR"]
    assert two.assessments["FLAIR"].fitness is Fitness.UNSUPPORTED


def test_what_is_recorded_holds_no_words_of_a_person(tmp_path: Path) -> None:
    paths = [image(tmp_path, name, "T1w", SeriesDescription="T1 Zelenka") for name in ("Zelenka", "b")]
    choice = chosen([*paths, image(tmp_path, "c", "T2w")])
    assert "Zelenka" in " ".join(choice.lines())
    assert "Zelenka" not in " ".join((str(choice.facts()), *choice.lines(nameless=True)))


def test_a_sidecar_that_cannot_be_read_stays_a_fault(tmp_path: Path) -> None:
    path = image(tmp_path, "a_T1w", "T1w")
    (tmp_path / "a_T1w.json").write_text("{")
    choice = chosen([path, image(tmp_path, "T2w", "T2w"), image(tmp_path, "FLAIR", "FLAIR")])
    candidate: Candidate = choice.chosen["T1w"]
    assert candidate.fault is not None
    assert choice.assessments["T1w"].fitness is Fitness.INCOMPLETE
