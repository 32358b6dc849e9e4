"""What is known of each step: a small file in the folder of results, replaced as a whole.

A step is complete if its record says so, was made from the same input, configuration and weights, and every
file it lists is there with the content it had. Anything else is done again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import final

from unweight.bids.derivatives.dataset import json_bytes
from unweight.bids.sidecar import read_sidecar
from unweight.core.errors import InputError
from unweight.core.text import natural_key
from unweight.files.atomic import check_within, fingerprint_of, write_bytes_atomic

LOGS = "logs"
STEPS, LOCKS = "steps", "locks"


class State(StrEnum):
    """How far a step has come."""

    BEGUN = "begun"
    COMPLETE = "complete"
    FAILED = "failed"


@final
@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """What is known of one step.

    Attributes:
        name: Of the step.
        pipeline: The command.
        key: Of what it was made from.
        state: How far it has come.
        attempts: How often one run has begun it; of a step that has not ended.
        run: Which run that is.
        reason: Why it failed.
        command: What would do it by hand, with paths relative to the tree and to the results.
        configuration: Name of the file with the settings of the run.
        files: SHA-256 of each file written, by its path in the folder of results; until it is complete,
            of what stood there before.
    """

    name: str
    pipeline: str
    key: str
    state: State
    attempts: int = 0
    run: str = ""
    reason: str = ""
    command: str = ""
    configuration: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    def stands(self, out: Path, key: str) -> bool:
        """Whether the step is complete and need not be done again."""
        if self.state is not State.COMPLETE or self.key != key or not self.files:
            return False
        return all(hash_of(out / path) == digest for path, digest in self.files.items())


def check_logs(out: Path) -> None:
    """Refuse folders of records that a link leads out of the results.

    Raises:
        OutputError: One of them is led out.
    """
    for folder in (out / LOGS, out / LOGS / STEPS, out / LOGS / LOCKS):
        check_within(out, folder)


def write_record(out: Path, record: StepRecord) -> None:
    """Replace what is known of a step.

    Raises:
        OutputError: It cannot be written.
    """
    write_bytes_atomic(_path(out, record.name), json_bytes(asdict(record)))


def remove_record(out: Path, name: str) -> None:
    """Forget what is known of a step."""
    _path(out, name).unlink(missing_ok=True)


def read_record(out: Path, name: str) -> StepRecord | None:
    """Return what is known of a step, or None if nothing is, or nothing that can be understood."""
    path = _path(out, name)
    return _understood(path) if path.is_file() else None


def records_of(out: Path) -> Iterator[StepRecord]:
    """Give what is known of all steps, by name."""
    for path in sorted((out / LOGS / STEPS).glob("*.json"), key=natural_key):
        record = _understood(path)
        if record is not None:
            yield record


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file; empty if it cannot be read."""
    return fingerprint_of(path) or ""


def _path(out: Path, name: str) -> Path:
    return out / LOGS / STEPS / f"{name}.json"


def _understood(path: Path) -> StepRecord | None:
    """Read a record; one that was damaged is none, and its step is done again."""
    try:
        sidecar = read_sidecar(path)
        files = sidecar["files"]
        if not isinstance(files, Mapping):
            return None
        return StepRecord(
            name=str(sidecar["name"]),
            pipeline=str(sidecar["pipeline"]),
            key=str(sidecar["key"]),
            state=State(str(sidecar["state"])),
            attempts=int(str(sidecar["attempts"])),
            run=str(sidecar["run"]),
            reason=str(sidecar["reason"]),
            command=str(sidecar["command"]),
            configuration=str(sidecar["configuration"]),
            files={str(name): str(digest) for name, digest in files.items()},
        )
    except (InputError, KeyError, ValueError):
        return None
