"""What a user reads of a failure that no part of the program foresaw, and its exit code."""

import errno

from unweight.core.errors import UnweightError

UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED, PIPE_CLOSED = 130, 141  # 128 and the number of the signal
NOT_USABLE = 2
MEMORY = (
    "not enough memory",
    "out of memory",
    "can't allocate",
    "cannot allocate memory",
    "bad_alloc",
    "alloc_cpu",
)
SHARED = ("/dev/shm", "shared memory", "</torch_", "bus error")
TOO_LITTLE = "insufficient memory. Free some, raise the limit of the job, or give a smaller image."
SHM_FULL = (
    "shared memory (/dev/shm), or the temporary folder, is full. Free some "
    "space, enlarge it (docker run --shm-size), or use fewer workers."
)
NO_PROCESS = (
    "the system could not start another process or thread. Raise the limit (ulimit -u), or use fewer "
    "workers."
)


def exit_code_of(error: BaseException) -> int:
    """Return the exit code that an error ends the command with."""
    if isinstance(error, UnweightError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return PIPE_CLOSED if isinstance(error, BrokenPipeError) else explained(error)[1]


def explained(error: BaseException) -> tuple[str, int]:
    """Return a paragraph about an error, and the exit code."""
    if ran_out_of_memory(error):
        return TOO_LITTLE, UNEXPECTED
    text = " ".join(str(error).split())
    if isinstance(error, RecursionError):
        return "a value in a file is nested too deeply. Correct the file.", UNEXPECTED
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, RuntimeError) and any(word in text.lower() for word in SHARED):
        return SHM_FULL, UNEXPECTED
    if isinstance(error, RuntimeError) and "start new thread" in text:
        return NO_PROCESS, UNEXPECTED
    return (
        f"unexpected {type(error).__name__}: {text}. This is a bug: run the command with --debug and "
        "report the output.",
        UNEXPECTED,
    )


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether Python, NumPy, PyTorch or the system had no memory to give."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError | ImportError) and any(
        word in str(error).lower() for word in MEMORY
    )


def _of_system(error: OSError) -> tuple[str, int]:
    """Return the paragraph about what the system refused."""
    if error.errno == errno.ENAMETOOLONG:
        return f"{_file(error)}the name is too long. Give a shorter one.", NOT_USABLE
    if error.errno == errno.EAGAIN:
        return NO_PROCESS, UNEXPECTED
    if error.errno == errno.ENOSPC and error.filename is None:
        return SHM_FULL, UNEXPECTED
    return (
        f"{_file(error)}{error.strerror or error}. Check the path, and its permissions.",
        UNEXPECTED,
    )


def _file(error: OSError) -> str:
    name = "" if error.filename is None else str(error.filename)
    return f"{name if len(name) <= 80 else name[:77] + '...'}: " if name else ""
