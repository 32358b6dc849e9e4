"""Time and memory of each command as a process of its own on simulated heads, for `run/cost.py`.

    python benchmarks/run_cost.py FOLDER

Simulates what it needs into FOLDER, if it is not there.
"""

import os
import shutil
import sys
from pathlib import Path

import nibabel as nib

CASES = (
    ("t1", "ir", 7),
    ("maps", "routine", 3),
    ("r2star", "megre", 8),
    ("qsm", "megre", 16),
    ("mprage", "megre", 16),
)
BASE_GIB = 0.5


def spawn(*words: str) -> "os.struct_rusage":  # type: ignore[name-defined]
    program = shutil.which("unweight")
    assert program is not None, "unweight is not installed"
    process = os.spawnv(os.P_NOWAIT, program, ("unweight", *words))
    _, status, usage = os.wait4(process, 0)
    assert status == 0, words
    return usage


def main() -> None:
    folder = Path(sys.argv[1])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print("command\tvoxels\timages\tcpu [s]\tpeak [GiB]\tns a voxel and image\tbytes a voxel and image")
    for command, contrast, images in CASES:
        study = folder / contrast
        if not study.is_dir():
            spawn("simulate", str(study), "--contrast", contrast, "-q")
        first = sorted((study / "bids").glob("sub-*/anat/*.nii.gz"))[0]
        x, y, z = nib.load(first).shape[:3]
        usage = spawn(
            command, str(study / "bids"), "-o", str(folder / f"out-{command}"), "-q", "--no-report"
        )
        cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20
        size = x * y * z * images
        rates = f"{1e9 * cpu / size:.0f}\t{(peak - BASE_GIB) * 2**30 / size:.0f}"
        print(f"{command}\t{x * y * z}\t{images}\t{cpu:.1f}\t{peak:.2f}\t{rates}", flush=True)


if __name__ == "__main__":
    main()
