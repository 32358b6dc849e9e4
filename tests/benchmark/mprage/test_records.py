"""What is measured of a person, on a small brain of blocks whose measures are known beforehand."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from unweight.benchmark.core.run import no_progress
from unweight.benchmark.mprage.records import (
    CONTRASTS,
    TRUTH,
    ResultsFile,
    SubjectRecord,
    SynthesisFn,
    measure_subject,
    outermost,
    structure_dice,
)
from unweight.core.errors import InputError
from unweight.core.seeding import seeded_generator
from unweight.learn.pairs.echo_channels import MASK, N_CHANNELS
from unweight.learn.pairs.pair import Pair, half
from unweight.metrics.segmentation import score_structures
from unweight.metrics.structures import LABELS, STRUCTURES

SIZE = 20
VOXEL_MM = (1.5, 1.0, 2.0)
# White matter at 1, structures far enough apart for a texture to lie between them.
LEVELS = torch.tensor([0.0, 0.2, 0.6, 1.0, 0.7, 0.8, 0.9, 0.5])
BLOCKS = {
    "csf": (slice(2, 5), slice(2, 18), slice(2, 18)),
    "grey_matter": (slice(15, 18), slice(2, 18), slice(2, 18)),
    "caudate": (slice(7, 11), slice(4, 7), slice(5, 9)),
    "putamen": (slice(7, 11), slice(9, 13), slice(5, 9)),
    "pallidum": (slice(7, 11), slice(14, 17), slice(5, 9)),
}
LIKENESS = {"ssim", "ms-ssim", "gmsd", "haarpsi", "fsim", "sharpness", "hfen", "slice jumps"}
OFFSET = 0.12  # a tenth of the data range, which is 20 dB


def person(name: str = "one") -> Pair:
    """Return a brain without a thalamus."""
    labels = torch.zeros(SIZE, SIZE, SIZE, dtype=torch.uint8)
    labels[2:18, 2:18, 2:18] = LABELS["white_matter"]
    for structure, block in BLOCKS.items():
        labels[block] = LABELS[structure]
    texture = 0.02 * torch.rand(labels.shape, generator=seeded_generator(0)) - 0.01
    mask = labels > 0
    channels = torch.zeros(N_CHANNELS, *labels.shape)
    channels[MASK] = mask.float()
    return Pair(
        channels=half(channels),
        target=half((LEVELS[labels.long()] + texture) * mask),
        labels=labels,
        voxel_mm=VOXEL_MM,
        name=name,
        about={"age": 41.5, "male": True, "true_ml": {"putamen": 0.2}},
    )


def nearest_level(image: Float[Tensor, "x y z"], mask: Bool[Tensor, "x y z"]) -> UInt8[Tensor, "x y z"]:
    """Find the structure of the nearest level."""
    found = (image[..., None] - LEVELS).abs().argmin(-1)
    return (found * mask).to(torch.uint8)


def same(pair: Pair) -> Tensor:
    return pair.target.float()


def brighter(pair: Pair) -> Tensor:
    return pair.target.float() + OFFSET


def shifted(pair: Pair) -> Tensor:
    return pair.target.float().roll(1, 0)


def wrong_at_the_rim(pair: Pair) -> Tensor:
    rim = outermost(pair.channels[MASK] > 0)
    return torch.where(rim, 0.0, pair.target.float())


def measured(methods: Mapping[str, SynthesisFn], *names: str) -> dict[str, SubjectRecord]:
    pairs = measure_subject("healthy", person(), methods, nearest_level, no_progress, all_measures=names)
    return {record.method: record for record, _ in pairs}


def record(name: str, method: str = TRUTH, dice: float = 0.9) -> SubjectRecord:
    return SubjectRecord(
        dataset="healthy",
        subject=name,
        method=method,
        about={"age": 40.0, "male": False},
        image={"psnr": 30.0},
        volume_ml={"putamen": 3.0},
        dice={"putamen": dice},
        dice_labels={},
        hd95_mm={},
        psnr={},
        seconds=0.5,
    )


def test_dice_counted_by_hand() -> None:
    putamen, csf = LABELS["putamen"], LABELS["csf"]
    found = torch.tensor([putamen, putamen, 0, 0, csf, 0], dtype=torch.uint8)
    truth = torch.tensor([putamen, putamen, putamen, putamen, 0, csf], dtype=torch.uint8)
    dice = structure_dice(found, truth)
    assert list(dice) == list(STRUCTURES[1:])
    assert dice["putamen"] == pytest.approx(2 * 2 / (2 + 4))
    assert dice["csf"] == 0
    assert math.isnan(dice["thalamus"])


def test_dice_is_that_of_the_segmentation_scores() -> None:
    """Which are counted in another way, and told of a label that only one of the two has."""
    first, second = (
        torch.randint(0, 8, (6, 7, 5), generator=seeded_generator(seed)).to(torch.uint8) for seed in (0, 1)
    )
    first[first == LABELS["thalamus"]] = 0
    scored = score_structures(first, second, VOXEL_MM, STRUCTURES)
    assert structure_dice(first, second) == pytest.approx({name: one.dice for name, one in scored.items()})


def test_outermost_layer_of_a_cube() -> None:
    mask = torch.zeros(10, 11, 12, dtype=torch.bool)
    mask[2:8, 2:8, 2:8] = True
    layer = outermost(mask)
    inner = torch.zeros_like(mask)
    inner[3:7, 3:7, 3:7] = True
    assert torch.equal(layer, mask & ~inner)
    assert int(layer.sum()) == 6**3 - 4**3


def test_outermost_layer_of_what_is_cut_off_at_a_face() -> None:
    mask = torch.zeros(10, 10, 10, dtype=torch.bool)
    mask[:5, 2:8, 2:8] = True
    assert int(outermost(mask).sum()) == 5 * 6 * 6 - 3 * 4 * 4


def test_truth_comes_first_with_images_in_order() -> None:
    pair = person()
    made = list(
        measure_subject("healthy", pair, {"same": same, "brighter": brighter}, nearest_level, no_progress)
    )
    assert [one.key for one, _ in made] == [
        ("healthy", "one", method) for method in (TRUTH, "same", "brighter")
    ]
    assert torch.equal(made[0][1], pair.target.float())
    assert torch.equal(made[2][1], pair.target.float() + OFFSET)
    assert made[0][0].about == made[1][0].about == {"age": 41.5, "male": True, "true_ml": {"putamen": 0.2}}


def test_truth_is_there_before_anything_is_made() -> None:
    def fails(pair: Pair) -> Tensor:
        raise InputError(f"no image of {pair.name}")

    pairs = iter(measure_subject("healthy", person(), {"fails": fails}, nearest_level, no_progress))
    assert next(iter(pairs))[0].method == TRUTH
    with pytest.raises(InputError, match="no image of one"):
        next(pairs)


def test_what_is_known_of_the_truth() -> None:
    truth = measured({})[TRUTH]
    assert not truth.dice and not truth.psnr and not truth.hd95_mm and truth.seconds == 0
    # What it is made of is found again, but for the thalamus, which is in neither.
    assert truth.dice_labels == dict.fromkeys([name for name in STRUCTURES[1:] if name != "thalamus"], 1.0)
    # Texture is uniform, of variance w²/12 with w = 0.02; so many voxels tell it to a few percent.
    assert truth.image == {
        "cnr white-grey": pytest.approx(0.4 / (0.02 / math.sqrt(12)), rel=0.1),
        "cnr putamen-pallidum": pytest.approx(0.1 / (0.02 / math.sqrt(12)), rel=0.25),
    }
    voxel_ml = math.prod(VOXEL_MM) / 1000
    assert truth.volume_ml["putamen"] == pytest.approx(4 * 4 * 4 * voxel_ml)
    assert truth.volume_ml["csf"] == pytest.approx(3 * 16 * 16 * voxel_ml)
    assert truth.volume_ml["thalamus"] == 0
    assert sum(truth.volume_ml.values()) == pytest.approx(16**3 * voxel_ml)


def test_an_image_that_is_the_true_one() -> None:
    one = measured({"same": same}, "same")["same"]
    assert set(one.dice.values()) == {1.0} and "thalamus" not in one.dice
    assert set(one.hd95_mm.values()) == {0.0}
    # A PSNR without error is infinite, and there are no jumps of an error that is none.
    assert "psnr" not in one.image and not one.psnr and "slice jumps" not in one.image
    for name in ("ssim", "ms-ssim", "haarpsi", "fsim", "sharpness"):
        assert one.image[name] == pytest.approx(1.0, abs=1e-6)
    for name in ("gmsd", "hfen"):
        assert one.image[name] == pytest.approx(0.0, abs=1e-6)


def test_psnr_of_an_offset() -> None:
    """The data range is 1.2: an offset of a tenth of it is 20 dB, everywhere and in each structure."""
    one = measured({"brighter": brighter})["brighter"]
    assert one.image["psnr"] == pytest.approx(20.0, abs=1e-3)
    assert set(one.psnr) == set(STRUCTURES[1:]) - {"thalamus"}
    assert all(value == pytest.approx(20.0, abs=1e-3) for value in one.psnr.values())


def test_rim_of_the_brain_is_not_compared() -> None:
    one = measured({"rim": wrong_at_the_rim})["rim"]
    assert "psnr" not in one.image
    # Only what lies at the rim is wrong; the putamen is inside.
    assert "csf" in one.psnr and "putamen" not in one.psnr


def test_a_shift_is_worse_by_what_it_moves() -> None:
    found = measured({"same": same, "shifted": shifted}, "same", "shifted")
    one, other = found["shifted"], found["same"]
    # Three of four layers of the block are in both.
    assert one.dice["putamen"] == pytest.approx(0.75) and one.dice_labels["putamen"] == pytest.approx(0.75)
    assert one.hd95_mm["putamen"] == pytest.approx(VOXEL_MM[0])
    assert one.volume_ml["putamen"] == other.volume_ml["putamen"]
    assert one.image["psnr"] < 40 and one.image["hfen"] > 0.1 and one.image["gmsd"] > 0.01
    for name in ("ssim", "ms-ssim", "haarpsi", "fsim"):
        assert one.image[name] < other.image[name] - 0.01


def test_which_measures_are_made() -> None:
    found = measured({"wholly": shifted, "hardly": shifted}, "wholly")
    wholly, hardly = found["wholly"], found["hardly"]
    assert wholly.image.keys() == {"psnr", *LIKENESS, *CONTRASTS} and wholly.hd95_mm
    assert hardly.image.keys() == {"psnr"} and not hardly.hd95_mm
    assert hardly.dice == wholly.dice and hardly.psnr == wholly.psnr
    assert hardly.volume_ml == wholly.volume_ml and hardly.seconds > 0


def test_a_book_is_gone_on_with(tmp_path: Path) -> None:
    path, about = tmp_path / "records.jsonl", {"weights": {"unet": "abc"}, "sizes": (1.5, 2.0)}
    book = ResultsFile(path=path, about=about).open()
    assert not book.records and not book.has("healthy", "a", TRUTH)
    book.add([record("a"), record("a", "unet")])
    book.add([record("b")])
    again = ResultsFile(path=path, about=about).open()
    assert again.records == book.records and list(again.records) == list(book.records)
    assert again.has("healthy", "a", "unet") and again.has("healthy", "b", TRUTH)
    assert not again.has("healthy", "b", "unet") and not again.has("other", "a", TRUTH)


def test_a_record_of_other_weights_is_not_there(tmp_path: Path) -> None:
    book = ResultsFile(path=tmp_path / "records.jsonl", about={})
    book.add([replace(record("a", "unet"), weights="new")])
    again = ResultsFile(path=book.path, about={}).open()
    assert again.has("healthy", "a", "unet", "new")
    assert not again.has("healthy", "a", "unet", "old") and not again.has("healthy", "a", "unet")


def test_a_record_made_again_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    book = ResultsFile(path=path, about={}).open()
    book.add([record("a", "unet", dice=0.5)])
    book.add([record("a", "unet", dice=0.7)])
    (one,) = ResultsFile(path=path, about={}).open().records.values()
    assert one.dice == {"putamen": 0.7}
    assert len(path.read_text().splitlines()) == 2


def test_a_book_about_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    ResultsFile(path=path, about={"segmenter": "old"}).add([record("a"), record("b")])
    content = path.read_bytes()
    with pytest.raises(InputError, match="another segmenter or other metrics"):
        ResultsFile(path=path, about={"segmenter": "new"}).open()
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no JSON\n",
        b"\xff\xfe\n",
        b'{"a": 1}\n{"dataset": "healthy"}\n',
        b'{"a": 1}\n[1, 2]\n',
        b'{"a": 1}\n{"dataset": "hea',
    ],
    ids=["empty", "words", "bytes", "incomplete", "list", "cut off"],
)
def test_what_is_no_book_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a valid results file"):
        ResultsFile(path=path, about={"a": 1}).open()
    assert path.read_bytes() == content


def test_every_line_is_json_that_others_can_read(tmp_path: Path) -> None:
    """JSON knows neither NaN nor infinity, which PSNR and others of the true image are."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is no JSON")

    path = tmp_path / "records.jsonl"
    book = ResultsFile(path=path, about={})
    empty = replace(person("empty"), labels=torch.zeros(SIZE, SIZE, SIZE, dtype=torch.uint8))
    for pair in (person(), empty):
        pairs = measure_subject(
            "healthy",
            pair,
            {"same": same, "shifted": shifted},
            nearest_level,
            no_progress,
            all_measures=["same"],
        )
        book.add(one for one, _ in pairs)
    lines = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    assert [line.get("way") for line in lines] == [None, *2 * [TRUTH, "same", "shifted"]]
    assert ResultsFile(path=path, about={}).open().records == book.records
