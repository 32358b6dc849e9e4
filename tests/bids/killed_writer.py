"""A process that writes sets of maps, and is killed before one of the steps that change names.

Steps are renames and removals. Each set is written by a process of its own, forked from one that has loaded
everything: a line of JSON asks for it, a line with its exit status answers.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from unweight.bids.derivatives.description import DerivedImage
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.write import WrittenMaps, write_maps
from unweight.cli.main import main
from unweight.core.maps import ParameterMaps
from unweight.core.parameter import ParameterSpec
from unweight.learn.mprage.estimator import T1W_IMAGE
from unweight.signals.inversion_recovery import PD, T1, B
from unweight.signals.parameters import CHI, T2

ENTITIES = {"sub": "01", "ses": "a"}
KINDS: dict[str, tuple[ParameterSpec, ...]] = {
    "t1": (T1, PD, B),
    "maps": (T1, T2, PD),
    "qsm": (CHI,),
    "mprage": (T1W_IMAGE,),
}


def write_version(kind: str, version: int, out: Path) -> WrittenMaps:
    """Write a set whose values all are its version; odd versions have an image more."""
    specs = KINDS[kind]
    values = torch.full((3, 2, 2, len(specs)), float(version))
    maps = ParameterMaps(
        specs=specs,
        values=values,
        std=values.clone(),
        status=torch.zeros(3, 2, 2, dtype=torch.uint8),
        misfit=values[..., 0].clone(),
        noise_sd=None,
        affine=torch.eye(4, dtype=torch.float64),
    )
    more = DerivedImage(
        key="more",
        values=values[..., 0].clone(),
        suffix=specs[0].suffix,
        desc="more",
        unit=specs[0].unit,
        description="More",
    )
    provenance = Provenance(sources=("sha256:00",), algorithm=f"version {version}")
    return write_maps(maps, out, ENTITIES, provenance, [more] * (version % 2))


def _die_at(step: int) -> None:
    """Have this process killed at a step."""
    count = itertools.count(1)

    def counted(change: Callable[..., None]) -> Callable[..., None]:
        def change_or_die(path: Path, *more: object, **options: object) -> None:
            # What is removed under its hidden name is of no set.
            of_the_set = change is replace or not str(path).endswith(".unfinished")
            if of_the_set and next(count) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            change(path, *more, **options)

        return change_or_die

    replace, unlink = os.replace, os.unlink
    os.replace, os.unlink = counted(replace), counted(unlink)  # type: ignore[assignment]


def _slow_down(seconds: float) -> None:
    replace = os.replace

    def slow(*paths: object) -> None:
        time.sleep(seconds)
        replace(*paths)  # type: ignore[arg-type]

    os.replace = slow  # type: ignore[assignment]


@dataclass(frozen=True)
class Writer:
    """The process."""

    process: "subprocess.Popen[str]"

    def killed(self, step: int, *work: str) -> bool:
        """Do some work, and tell whether it was killed before the end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([step, *work]), file=self.process.stdin, flush=True)
        code = int(self.process.stdout.readline())
        assert code in (0, -signal.SIGKILL), code
        return code != 0


@contextmanager
def writer() -> Iterator[Writer]:
    """Start the process, and end it with the block."""
    call = [sys.executable, "-m", __name__]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Writer(process)
        assert process.stdin is not None
        process.stdin.close()


def _work(step: int, words: list[str]) -> int:
    os.fsync = lambda _: None
    os.dup2(2, 1)
    if step < 0:
        _slow_down(-step / 1000)
    elif step:
        _die_at(step)
    if words[0] != "write":
        return main(words)
    write_version(words[1], int(words[2]), Path(words[3]))
    return 0


def _serve() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        step, *words = json.loads(line)
        child = os.fork()
        if not child:
            try:
                os._exit(_work(step, words))
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(99)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
