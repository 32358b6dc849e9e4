import errno
import weakref

import pytest

from unweight.cli.each import each
from unweight.core.errors import InputError, OutputError

CAPTURE = pytest.CaptureFixture[str]


def test_all_are_done_in_order() -> None:
    done: list[tuple[str, int]] = []
    assert each([("a", 1), ("b", 2)], lambda label, one: done.append((label, one))) == 0
    assert done == [("a", 1), ("b", 2)]


def test_what_fails_is_said_and_the_rest_is_done(capsys: CAPTURE) -> None:
    done: list[str] = []

    def work(label: str, works: bool) -> None:
        if not works:
            raise InputError("is torn", remedy="Mend it.")
        done.append(label)

    things = [("a", True), ("b", False), ("c", True), ("d", False)]
    assert each(things, work, what="images") == 1
    assert done == ["a", "c"]
    said = capsys.readouterr().err
    assert "b: is torn. Mend it." in said
    assert "2 of 4 images failed: b, d" in said


def test_a_lone_failure_is_an_error_of_the_call() -> None:
    def fail(_: str, __: int) -> None:
        raise InputError("is torn")

    with pytest.raises(InputError, match="is torn"):
        each([("a", 1)], fail)
    with pytest.raises(InputError, match="is torn"):
        each([("a", 1), ("b", 2)], fail, debug=True)


@pytest.mark.parametrize(
    ("path", "reason"), [("maps/sub-01/anat/x.nii.gz", errno.ENOSPC), ("maps/README.md", errno.EACCES)]
)
def test_a_full_disk_or_closed_folder_stops_everything(path: str, reason: int) -> None:
    tried: list[str] = []

    def fail(label: str, _: int) -> None:
        tried.append(label)
        raise OutputError("could not be written", path=path) from OSError(reason, "no")

    with pytest.raises(OutputError, match="could not be written"):
        each([("a", 1), ("b", 2)], fail)
    assert tried == ["a"]


def test_results_of_one_subject_that_cannot_be_written_stop_no_other(capsys: CAPTURE) -> None:
    done: list[str] = []

    def work(label: str, path: str) -> None:
        if path:
            raise OutputError("leads out of the folder", path=path)
        done.append(label)

    assert each([("a", "maps/sub-01/anat"), ("b", "")], work) == 1
    assert done == ["b"] and "a: maps/sub-01/anat: leads out" in capsys.readouterr().err


def test_a_bug_is_shown_when_the_others_are_done(capsys: CAPTURE) -> None:
    done: list[str] = []

    def work(label: str, number: int) -> None:
        done.append(f"{label}{1 // number}")

    with pytest.raises(ZeroDivisionError):
        each([("a", 0), ("b", 1)], work)
    assert done == ["b1"] and "a: unexpected ZeroDivisionError" in capsys.readouterr().err


def test_a_bug_is_not_hidden() -> None:
    def fail(_: str, __: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        each([("a", 1), ("b", 2)], fail)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_what_runs_out_of_memory_ends_its_own_series(error: Exception, capsys: CAPTURE) -> None:
    done: list[str] = []

    def work(label: str, fits: bool) -> None:
        if not fits:
            raise error
        done.append(label)

    assert each([("a", False), ("b", True)], work) == 1
    said = capsys.readouterr().err
    assert done == ["b"] and "a: insufficient memory" in said and "1 of 2 series failed: a" in said
    with pytest.raises(type(error)):
        each([("a", False)], work)


def test_a_fault_does_not_keep_the_images_of_its_series() -> None:
    class Image:
        pass

    alive: list[weakref.ref[Image]] = []

    def work(_: str, fits: bool) -> None:
        image = Image()
        if not fits:
            alive.append(weakref.ref(image))
            raise ZeroDivisionError
        assert alive[0]() is None

    with pytest.raises(ZeroDivisionError):
        each([("a", False), ("b", True)], work)
