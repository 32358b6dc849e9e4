"""Folders that may not be read, for a user who may read everything."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest


def close(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let what looks into a folder find that it may not, as where its mode is 700 and its owner another."""
    within, status = Path.iterdir, Path.stat

    def iterdir(self: Path) -> Iterator[Path]:
        if self == folder or folder in self.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return within(self)

    def stat(self: Path, *, follow_symlinks: bool = True) -> object:
        if folder in self.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return status(self, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    monkeypatch.setattr(Path, "stat", stat)
