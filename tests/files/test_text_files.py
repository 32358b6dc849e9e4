import json
import os
from pathlib import Path

import pytest

from unweight.core.errors import InputError
from unweight.files.text_files import check_depth, parse_json, read_content, read_text


def test_what_a_file_holds_and_not_a_byte_more(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3_000_000)
    assert read_content(path, 3_000_000) == b"x" * 3_000_000
    with pytest.raises(InputError, match=r"too large: more than 2\.86 MiB"):
        read_content(path, 2_999_999)
    path.write_bytes(b"")
    assert read_content(path, 0) == b""


def test_bytes_count_and_not_what_a_listing_says() -> None:
    """Files of /proc have a size of 0 and content all the same."""
    path = Path("/proc/self/maps")
    if not path.exists():
        pytest.skip("this system has no /proc")
    assert path.stat().st_size == 0
    assert len(read_content(path, 2**24)) > 1000
    with pytest.raises(InputError, match="too large"):
        read_content(path, 1000)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/full", "pipe"])
def test_what_never_ends_or_never_begins_is_refused_at_once(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "pipe":
        os.mkfifo(path)
    with pytest.raises(InputError, match="is a device or a pipe"):
        read_content(path, 100)


@pytest.mark.parametrize("name", [".", "none", "a" * 300, "a\0b"])
def test_what_cannot_be_opened_is_said(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_content(tmp_path / name, 100)


def test_text_with_and_without_a_byte_order_mark(tmp_path: Path) -> None:
    for content in ("µ".encode(), "µ".encode("utf-8-sig")):
        (tmp_path / "a").write_bytes(content)
        assert read_text(tmp_path / "a", 100) == "µ"
    (tmp_path / "a").write_bytes("µ".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_text(tmp_path / "a", 100)


def nested(depth: int) -> object:
    value: object = 1
    for index in range(depth):
        value = [value] if index % 2 else {"a": value}
    return value


@pytest.mark.parametrize("depth", [101, 400, 100_000])
def test_values_nested_too_deeply_are_a_fault_of_the_file(depth: int) -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * depth + "]" * depth)
    if depth < 1000:
        with pytest.raises(ValueError, match="nested too deeply"):
            check_depth(nested(depth))


def test_what_is_nested_as_files_are_is_read() -> None:
    assert parse_json(json.dumps(nested(100))) == nested(100)
