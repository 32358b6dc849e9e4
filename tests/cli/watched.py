"""A command in a process of its own with an empty home; Python tells what it opens and whom it asks."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# In each process: what is opened to be written, moved or removed, and every use of a network.
HOOK = """
import json, os, sys
KEPT = os.open(os.environ["WATCHED"], os.O_WRONLY | os.O_APPEND)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")
ASKS = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
def tell(kind, value):
    if isinstance(value, (str, bytes, os.PathLike)):
        os.write(KEPT, (json.dumps([kind, os.path.abspath(os.fsdecode(value))]) + "\\n").encode())
def watch(event, values):
    if event == "open" and isinstance(values[2], int) and values[2] & WRITES:
        tell("write", values[0])
    elif event in CHANGES and values[-1] in (-1, None):  # else a name within a folder that is open
        for value in values[:2]:
            tell("write", value)
    elif event in ASKS:
        os.write(KEPT, (json.dumps(["network", event + " " + repr(values[1:])]) + "\\n").encode())
sys.addaudithook(watch)
"""


@dataclass(frozen=True)
class Watched:
    """What a command did.

    Attributes:
        code: Its exit code.
        text: What it wrote to standard output and standard error.
        written: Paths that were written, moved or removed.
        network: Uses of a network.
    """

    code: int
    text: str
    written: frozenset[Path]
    network: tuple[str, ...]

    def written_outside(self, *folders: Path) -> list[Path]:
        """Return what was written outside some folders, and is no device."""
        allowed = (*folders, Path("/dev"), Path("/proc"))
        return sorted(path for path in self.written if not any(path.is_relative_to(one) for one in allowed))


def watched(words: Sequence[object], home: Path, environment: Mapping[str, str] | None = None) -> Watched:
    """Carry out a command of unweight.

    Args:
        words: Of the call.
        home: An empty folder, which stands for the user's home; temporary files go beside it.
        environment: Further variables.
    """
    beside = home.parent
    hook, log, temporary = beside / "hook", beside / "watched.jsonl", beside / "tmp"
    for folder in (home, hook, temporary):
        folder.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(HOOK)
    log.write_text("")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XDG_", "MPL", "DASK_")) and name != "HOME"
    }
    way = os.pathsep.join([str(hook), os.environ.get("PYTHONPATH", "")])
    own = {"HOME": str(home), "TMPDIR": str(temporary), "WATCHED": str(log), "PYTHONPATH": way}
    ended = subprocess.run(
        [sys.executable, "-B", "-m", "unweight", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, "PYTHONDONTWRITEBYTECODE": "1", **own, **(environment or {})},
    )
    told = [json.loads(line) for line in log.read_text().splitlines()]
    return Watched(
        code=ended.returncode,
        text=ended.stdout + ended.stderr,
        written=frozenset(Path(value) for kind, value in told if kind == "write"),
        network=tuple(value for kind, value in told if kind == "network"),
    )
