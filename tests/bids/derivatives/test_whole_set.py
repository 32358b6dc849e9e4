"""Whenever a writer is killed, a reader has the old set, the new one, or an error that says so."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bids.killed_writer import ENTITIES, KINDS, Writer, write_version, writer
from unweight.bids.derivatives.read import find_maps, read_maps
from unweight.bids.derivatives.stored import (
    Condition,
    check_same,
    read_image,
    stored_subject,
    unfinished_sets,
)
from unweight.bids.derivatives.whole_set import commit, is_whole, unchanged, unfinished_in
from unweight.bids.derivatives.write import anat_folder, sidecar_path, visit_locked
from unweight.bids.nifti.volume import open_volume
from unweight.core.errors import InputError, OutputError


@pytest.fixture(scope="module")
def process() -> Iterator[Writer]:
    with writer() as found:
        yield found


def first_of(kind: str, out: Path) -> Path:
    return sidecar_path(out, ENTITIES, KINDS[kind][0].suffix, KINDS[kind][0].desc)


def version_of(sidecar: Path) -> int | None:
    """Return the version of a set that every reader agrees upon; None if all say that it is unfinished."""
    subject = stored_subject(sidecar.parents[3], "01")
    if not subject.sets:
        assert any(f"the unfinished set {sidecar.stem}" in one for one in subject.problems)
        assert unfinished_sets(sidecar.parents[3], "01") == (sidecar.stem,)
        for image in sidecar.parent.glob("sub-*.nii.gz"):
            with pytest.raises(InputError, match=f"the unfinished set {sidecar.stem}"):
                open_volume(image)
        return None
    [found] = subject.sets
    assert {image.condition for image in found.images} == {Condition.WHOLE}
    assert subject.problems == ()
    versions = {
        float(read_image(image).max())
        for image in found.images
        if image.name.suffix not in ("dseg", "mask")
    }
    [version] = versions
    assert found.fields["EstimationAlgorithm"] == f"version {version:g}"
    return int(version)


def check_maps(kind: str, out: Path, seen: int | None) -> None:
    """See that maps come back as what the others saw."""
    specs = KINDS[kind]
    if specs[0].desc:
        return
    [sidecar] = find_maps(out, specs[0].suffix)
    if seen is None:
        with pytest.raises(InputError, match="is the unfinished set"):
            read_maps(out, sidecar, specs)
    else:
        assert set(read_maps(out, sidecar, specs).maps.values.unique().tolist()) == {seen}


@pytest.mark.parametrize(
    "kind", ["qsm", *(pytest.param(one, marks=pytest.mark.slow) for one in KINDS if one != "qsm")]
)
@pytest.mark.parametrize("older", [True, False])
def test_a_writer_killed_at_each_step(tmp_path: Path, process: Writer, kind: str, *, older: bool) -> None:
    seen: list[int | None] = []
    for step in range(1, 200):
        out = tmp_path / str(step)
        if older:
            write_version(kind, 1, out)
        sidecar = first_of(kind, out)
        if not process.killed(step, "write", kind, "2", str(out)):
            break
        if not older and not list(out.glob("sub-*/**/anat/sub-*")) and not unfinished_in(sidecar.parent):
            continue  # nothing of the set is there
        found = version_of(sidecar)
        check_maps(kind, out, found)
        seen.append(found)
        assert not process.killed(0, "write", kind, "2", str(out))
        assert version_of(sidecar) == 2
        assert unfinished_in(sidecar.parent) == ()
        assert not list(sidecar.parent.glob("*desc-more*"))
        assert not list(sidecar.parent.glob(".*.json"))
    assert is_whole(sidecar)
    assert None in seen  # some kill was between two names
    # old sets before unfinished ones, and new ones last
    order = [{1: 0, None: 1, 2: 2}[one] for one in seen]
    assert order == sorted(order)
    assert seen[-1] == 2
    assert (seen[0] == 1) == older


def test_of_two_writers_with_slow_renames_one_set_is_left_whole(tmp_path: Path) -> None:
    with writer() as first, writer() as second:
        work = [
            threading.Thread(target=one.killed, args=(-20, "write", "t1", str(version), str(tmp_path)))
            for one, version in ((first, 2), (second, 3))
        ]
        for one in work:
            one.start()
        for one in work:
            one.join()
    sidecar = first_of("t1", tmp_path)
    assert version_of(sidecar) in (2, 3)
    assert bool(list(sidecar.parent.glob("*desc-more*"))) == (version_of(sidecar) == 3)
    assert [path.name for path in tmp_path.rglob(".*")] == [".bidsignore"]


def test_sets_of_other_visits_are_written_meanwhile(tmp_path: Path) -> None:
    with (
        visit_locked(tmp_path, {"sub": "01", "ses": "b"}),
        visit_locked(tmp_path, {"sub": "02", "ses": "a"}),
    ):
        write_version("qsm", 1, tmp_path)
    assert is_whole(first_of("qsm", tmp_path))


def test_a_fault_between_the_names_says_that_the_set_is_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_version("qsm", 1, tmp_path)
    rename = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target.name.endswith("status_dseg.nii.gz"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OutputError, match="this set may be unfinished") as caught:
        write_version("qsm", 2, tmp_path)
    assert caught.value.exit_code == 3
    assert version_of(first_of("qsm", tmp_path)) is None
    monkeypatch.undo()
    write_version("qsm", 2, tmp_path)
    assert version_of(first_of("qsm", tmp_path)) == 2


def test_a_mark_lists_no_file_outside_the_set(tmp_path: Path) -> None:
    write_version("qsm", 1, tmp_path)
    sidecar, mine = first_of("qsm", tmp_path), tmp_path / "mine.json"
    mine.write_text("{}")
    raw = sidecar.with_name("notes.tsv")
    raw.write_text("mine")
    mark = sidecar.with_name(f".{sidecar.stem}.unfinished.json")
    names = ["../../../mine.json", str(mine), "notes.tsv", 3, sidecar.name]
    mark.write_text(json.dumps({"Set": sidecar.name, "Files": names}))
    write_version("qsm", 2, tmp_path)
    assert mine.exists()
    assert raw.exists()
    assert not mark.exists()


def test_a_full_disk_sets_no_mark(tmp_path: Path) -> None:
    write_version("qsm", 1, tmp_path)
    sidecar = first_of("qsm", tmp_path)

    def files() -> Iterator[tuple[Path, bytes]]:
        yield sidecar.with_name("sub-01_ses-a_Chimap.nii.gz"), b"new"
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        commit(sidecar, files())
    assert version_of(sidecar) == 1
    assert list(anat_folder(tmp_path, ENTITIES).glob(".*")) == []


def test_a_set_replaced_while_it_is_read_is_refused(tmp_path: Path) -> None:
    write_version("qsm", 1, tmp_path)
    [found] = stored_subject(tmp_path, "01").sets
    check_same(found)
    write_version("qsm", 2, tmp_path)
    with pytest.raises(InputError, match="is the unfinished set sub-01_ses-a_Chimap"):
        check_same(found)
    [now] = stored_subject(tmp_path, "01").sets
    check_same(now)


def test_maps_replaced_while_they_are_read_are_refused(tmp_path: Path) -> None:
    write_version("qsm", 1, tmp_path)
    sidecar = first_of("qsm", tmp_path)
    with pytest.raises(InputError, match="is the unfinished set"), unchanged(sidecar):
        write_version("qsm", 2, tmp_path)
    with unchanged(sidecar):
        assert version_of(sidecar) == 2
