"""T1w images of tiny networks scored against true ones, on people of a few thousand voxels."""

import csv
import json
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.bids.files import write_nifti
from tests.learn.mprage.test_methods_training import PARTS, tiny
from tests.learn.names import STRUCTURES, T1W_UNET
from tests.learn.pairs.test_real_subjects import echoes_of, named
from unweight.benchmark.mprage import subjects as t1w_people
from unweight.benchmark.mprage.records import outermost
from unweight.cli.main import main
from unweight.core.seeding import seeded_generator
from unweight.learn.mprage.methods import load_synthesiser
from unweight.learn.pairs.cohort import CohortRecipe
from unweight.learn.pairs.echo_channels import LEVEL, MASK, N_CHANNELS
from unweight.learn.pairs.pair import Pair, half
from unweight.learn.pairs.real_subjects import PairedSubject
from unweight.learn.training.trainer import train_model
from unweight.learn.training.weights import save_weights
from unweight.metrics.image_quality import psnr
from unweight.metrics.scores import COLUMNS
from unweight.synth.anatomy.labels import Anatomy

CAPTURE = pytest.CaptureFixture[str]
MONKEY = pytest.MonkeyPatch
SHAPE = (32, 34, 36)
WAYS = ("truth", "unet", "unet: magnitudes", "unet: + R2*", "unet: + QSM")


@cache
def someone(name: str) -> Pair:
    """A T1w image that is a line in LEVEL; each structure is a layer of a ball."""
    generator = seeded_generator(0, name)
    axes = torch.meshgrid(*(torch.linspace(-1.2, 1.2, size) for size in SHAPE), indexing="ij")
    far = torch.stack(axes).square().sum(0).sqrt()
    mask = far < 1
    channels = 0.5 * torch.randn(N_CHANNELS, *SHAPE, generator=generator) * mask
    channels[MASK] = mask
    target = (0.8 + 0.2 * channels[LEVEL]).clamp(0, 2) * mask
    labels = (1 + 7 * far.clamp(max=0.99)).floor() * mask
    return Pair(
        channels=half(channels),
        target=half(target),
        labels=labels.to(torch.uint8),
        voxel_mm=(4.0, 4.0, 4.0),
        name=name,
        about={"age": 50.0, "male": True, "head": "ball", "brain_ml": 1300.0},
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for method in (T1W_UNET, STRUCTURES):
        found = train_model(tiny(method), PARTS, device=torch.device("cpu"))
        assert found is not None
        save_weights(folder, *found)
    return folder


@pytest.fixture
def made(monkeypatch: MONKEY) -> list[str]:
    """People made of nothing; return who was made."""
    names: list[str] = []

    def person(recipe: CohortRecipe, heads: Sequence[Anatomy], part: str, index: int) -> Pair:
        assert len(heads) == 1 and index in recipe.indices(part)
        assert recipe.voxel_mm == t1w_people.QUICK_MM
        names.append(f"{recipe.group}-{part}-{index}")
        return someone(f"{part}-{index}")

    monkeypatch.setattr(t1w_people, "person_pair", person)
    return names


def evaluate(out: Path, weights: Path, *words: object) -> int:
    called = ("--weights", weights, "--workers", 1, "--quick", *words)
    return main(["evaluate", "mprage", "-o", str(out), *(str(word) for word in called)])


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "scores.tsv").open() as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def records_of(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()[1:]]


def pictures(out: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in out.glob("*.png")}
    assert all(content.startswith(b"\x89PNG\r\n\x1a\n") for content in found.values())
    return found


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scores")


def test_everything(out: Path, weights: Path, made: list[str], capsys: CAPTURE) -> None:
    """Scores of each way, pictures, records; a second call finds all of it there."""
    words = ("--datasets", "healthy", "--methods", "unet")
    assert evaluate(out, weights, *words) == 0
    first = CohortRecipe().indices("test")[0]
    assert made == [f"healthy-test-{first}", f"healthy-test-{first + 1}"]
    rows = rows_of(out)
    assert tuple(rows[0]) == COLUMNS
    assert {row["set"] for row in rows} == {"healthy"}
    assert set(WAYS) - {"truth"} <= {row["method"] for row in rows}
    keys = [tuple(row[name] for name in COLUMNS[:5]) for row in rows]
    assert len(set(keys)) == len(keys)
    records = records_of(out)
    assert [(one["person"], one["way"]) for one in records] == [
        (f"test-{first + number}", way) for number in (0, 1) for way in WAYS
    ]
    assert set(pictures(out)) == {"mprage_healthy.png", "mprage_healthy_conditions.png"}
    shown = capsys.readouterr().out.replace("\n", "")
    assert all(str(out / name) in shown for name in ("scores.tsv", *pictures(out)))
    # Nothing is made or measured again.
    book = (out / "records.jsonl").read_bytes()
    (out / "scores.tsv").unlink()
    assert evaluate(out, weights, *words, "--quiet") == 0
    assert len(made) == 2 and (out / "records.jsonl").read_bytes() == book
    assert rows_of(out) == rows and not capsys.readouterr().out
    assert "mprage_healthy.png" in pictures(out)


def test_psnr_is_that_of_the_image_it_makes(tmp_path: Path, weights: Path, made: list[str]) -> None:
    """20·lg(1.2/RMSE) in the brain less its outermost layer."""
    assert evaluate(tmp_path, weights, "--datasets", "healthy", "--n-subjects", 1, "--methods", "unet") == 0
    assert len(made) == 1
    pair = someone(made[0].removeprefix("healthy-"))
    mask, truth = pair.channels[MASK] > 0, pair.target.float()
    inside = mask & ~outermost(mask)
    image = load_synthesiser(T1W_UNET, weights)[0](pair.channels.float()).mean
    expected = 20 * math.log10(1.2 / float((image - truth)[inside].double().square().mean().sqrt()))
    (record,) = [one for one in records_of(tmp_path) if one["way"] == "unet"]
    assert record["image"]["psnr"] == pytest.approx(expected, rel=1e-5)  # type: ignore[index]
    assert psnr(image, truth, inside, 1.2) == pytest.approx(expected, rel=1e-5)
    (row,) = [
        one
        for one in rows_of(tmp_path)
        if one["method"] == "unet" and one["metric"] == "psnr" and one["group"] == "brain"
    ]
    assert float(row["value"]) == pytest.approx(expected, rel=1e-5)


def test_a_stopped_evaluation_goes_on(tmp_path: Path, weights: Path, made: list[str]) -> None:
    """People of a set that were measured are not measured again; new ones are added."""
    assert evaluate(tmp_path, weights, "--datasets", "demyelination", "--n-subjects", 1, "--quiet") == 0
    first = records_of(tmp_path)
    assert evaluate(tmp_path, weights, "--datasets", "demyelination", "--n-subjects", 2, "--quiet") == 0
    assert len(made) == 2 and all(one.startswith("demyelination-test-") for one in made)
    both = records_of(tmp_path)
    assert both[: len(first)] == first and len(both) == 2 * len(first)
    assert (tmp_path / "people" / "test-demyelination" / "pairs.json").exists()


def test_people_kept_elsewhere(tmp_path: Path, weights: Path, made: list[str]) -> None:
    words = ("--datasets", "healthy", "--n-subjects", 1, "--pairs", tmp_path / "kept", "--quiet")
    assert evaluate(tmp_path / "one", weights, *words) == 0
    assert evaluate(tmp_path / "two", weights, *words) == 0
    assert len(made) == 1 and not (tmp_path / "one" / "people").exists()
    assert {path.name for path in (tmp_path / "kept" / "test").glob("*.json")} == {"pairs.json"}


@pytest.fixture(scope="module")
def t1w(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head with voxels of 3 mm: white matter, grey matter, fluid, bone, scalp."""
    axes = np.meshgrid(*(3.0 * (np.arange(n) - n / 2 + 0.5) for n in (64, 72, 64)), indexing="ij")
    far = np.sqrt(sum((x / r) ** 2 for x, r in zip(axes, (68, 84, 66), strict=True)))
    image = np.select(
        [far < 0.75, far < 0.95, far < 1.02, far < 1.12, far < 1.25], [800, 550, 150, 30, 900]
    )
    noise = 10 * torch.randn(image.shape, generator=seeded_generator(0, "t1w")).numpy()
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = [-96, -108, -96]
    values = np.abs(image + noise).astype(np.float32)
    return write_nifti(tmp_path_factory.mktemp("real") / "head.nii.gz", values, affine=affine)


def test_a_real_image_is_looked_at_beside_them(
    tmp_path: Path, weights: Path, made: list[str], t1w: Path, capsys: CAPTURE
) -> None:
    words = ("--datasets", "healthy", "--n-subjects", 1, "--methods", "unet", "--t1w", t1w)
    assert evaluate(tmp_path, weights, *words) == 0
    assert len(made) == 1
    shown = capsys.readouterr().out
    assert "median of each structure over white matter" in shown
    assert "real" in shown and "simulated" in shown


def test_real_people(
    tmp_path: Path, weights: Path, made: list[str], monkeypatch: MONKEY, capsys: CAPTURE
) -> None:
    """Simulated people are left out unless they are asked for; who lacks an image is named."""
    root = named(tmp_path / "bids", *echoes_of("sub-01"), "sub-01_T1w", "sub-02_T1w")

    def real(subject: PairedSubject) -> Pair:
        return someone(subject.label)

    monkeypatch.setattr("unweight.cli.evaluate_mprage.real_pair", real)
    assert evaluate(tmp_path / "out", weights, "--test-bids-dir", root) == 0
    assert "left out: sub-02 has no MEGRE" in capsys.readouterr().out
    assert not made
    assert {row["set"] for row in rows_of(tmp_path / "out")} == {"real"}
    assert "mprage_real.png" in pictures(tmp_path / "out")
    assert "sub-01" not in (tmp_path / "out" / "scores.tsv").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--methods", "physics"), "`evaluate mprage` has no method called physics. There are residual"),
        (("--methods", "vsharp+wtv"), "has no method called vsharp+wtv"),
        (("--datasets", "internal"), "has no set called internal. There are healthy"),
        (("--phantom", "."), "--phantom cannot be used with"),
        (("--draws", "2", "--steps", "3"), "--draws, --steps cannot be used"),
        (("--chi", "a.nii"), "--chi cannot be used with"),
        (("--n-subjects", "0"), "--n-subjects 0"),
        (("--datasets", "healthy", "--n-subjects", "131"), "healthy has no 131 subjects"),
        (("--methods", "gan"), "there are no weights called mprage-gan"),
        (("--brainweb-dir", "."), "contains no BrainWeb head"),
    ],
)
def test_what_does_not_apply_is_refused(
    words: Sequence[str], message: str, tmp_path: Path, weights: Path, monkeypatch: MONKEY, capsys: CAPTURE
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("unweight.cli.evaluate_mprage.cohort_heads", cheap(t1w_people.cohort_heads))
    assert evaluate(tmp_path / "out", weights, *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def cheap(heads: Callable[..., tuple[Anatomy, ...]]) -> Callable[..., tuple[Anatomy, ...]]:
    """Make no heads from random numbers."""

    def chosen(folder: Path | None, *, quick: bool = False) -> tuple[Anatomy, ...]:
        return () if folder is None else heads(folder, quick=quick)

    return chosen


@pytest.mark.parametrize(
    "words",
    [
        ("t1", "--n-subjects", "2"),
        ("maps", "--test-bids-dir", "."),
        ("qsm", "--t1w", "a.nii", "--segmenter", "own"),
    ],
)
def test_others_do_not_take_its_options(words: Sequence[str], tmp_path: Path, capsys: CAPTURE) -> None:
    what, *rest = words
    assert main(["evaluate", what, "-o", str(tmp_path / "out"), *rest]) == 2
    said = capsys.readouterr().err
    assert f"cannot be used with `evaluate {what}`" in said and "or use `evaluate mprage`" in said
    assert rest[0] in said
    assert not (tmp_path / "out").exists()


def test_a_method_nobody_knows(tmp_path: Path, weights: Path, capsys: CAPTURE) -> None:
    with pytest.raises(SystemExit):
        evaluate(tmp_path, weights, "--methods", "magic")
    assert "invalid choice" in capsys.readouterr().err


def test_without_a_segmenter_nothing_is_scored(tmp_path: Path, weights: Path, capsys: CAPTURE) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    for path in weights.glob(f"{T1W_UNET}.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    assert evaluate(tmp_path / "out", folder) == 2
    assert "there are no weights called structures" in capsys.readouterr().err
    assert evaluate(tmp_path / "out", tmp_path) == 2
    assert "there are no weights for synthetic T1w images" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_file_is_not_written_over(tmp_path: Path, weights: Path, capsys: CAPTURE) -> None:
    (tmp_path / "records.jsonl").write_text("notes of my own\n")
    assert evaluate(tmp_path, weights) == 2
    assert "is not a valid results file. Move it away." in capsys.readouterr().err
    assert (tmp_path / "records.jsonl").read_text() == "notes of my own\n"
