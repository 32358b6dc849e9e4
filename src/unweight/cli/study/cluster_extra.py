"""The extra `cluster`: what `--cluster` and `--scheduler` need beyond the package itself."""

import importlib.util

from unweight.core.errors import UsageError

INSTALL = "pip install 'unweight[cluster]'"
# Modules, by the name of the package that brings them.
PACKAGES = {
    "dask": "dask",
    "distributed": "distributed",
    "dask-jobqueue": "dask_jobqueue",
    "cryptography": "cryptography",
}


def absent() -> tuple[str, ...]:
    """Return the packages of the extra that are not installed."""
    return tuple(name for name, module in PACKAGES.items() if importlib.util.find_spec(module) is None)


def check_installed(option: str) -> None:
    """Refuse an option that needs the extra where it is not installed.

    Raises:
        UsageError: Packages are absent.
    """
    missing = absent()
    if missing:
        raise UsageError(
            f"{option} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "installed here",
            remedy=f"{INSTALL}; or let `unweight slurm` write a job array.",
        )
