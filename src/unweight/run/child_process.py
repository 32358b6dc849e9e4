"""A process that ends with the one that started it: `python -m unweight.run.child_process PARENT MODULE`.

Linux ends it with its parent, prctl(2) PR_SET_PDEATHSIG; elsewhere a thread looks twice a second whether
the parent is still there. An interrupt from the terminal reaches all processes at once, and the parent acts
on it. All this comes before any large import, so that no worker can be left behind while it starts.
"""

import ctypes
import os
import runpy
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
LOOK_SECONDS = 0.5


def end_with(parent: int) -> None:
    """See to it that this process ends when its parent does.

    Args:
        parent: Process identifier of it, as it was when it started this process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not _ended_by_the_system():
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    elif os.getppid() != parent:
        _end()


def _ended_by_the_system() -> bool:
    """Ask the system to end this process with its parent; return whether it will."""
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) == 0)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    _end()


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    runpy.run_module(sys.argv[2], run_name="__main__", alter_sys=True)
