"""Voxels per second of the inversion-recovery fit, beside its peers, in turns on the same data.

Seven TIs, magnitude, Rician noise of 0.02, PD 0.5 to 1.5, T1 log-uniform 0.02 to 4.5 s, inversion
efficiency 1.6 to 2.0. Each program runs in a process of its own, keeps its data in memory, and is asked
for one run after the other in turns, so that a machine that changes its speed changes it for all.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
TIMES = (0.05, 0.10, 0.25, 0.50, 0.85, 1.50, 2.50)
SHAPE = (64, 64, 16)
UKAT_COLUMNS = 4
ROUNDS = 7
THREADS = 2


def simulate(path: Path) -> None:
    generator = np.random.default_rng(0)
    t1 = np.exp(generator.uniform(np.log(0.02), np.log(4.5), SHAPE))[..., None]
    pd = generator.uniform(0.5, 1.5, SHAPE)[..., None]
    b = generator.uniform(1.6, 2.0, SHAPE)[..., None]
    signal = pd * (1 - b * np.exp(-np.asarray(TIMES) / t1))
    noise = 0.02 * generator.standard_normal((2, *signal.shape))
    np.save(path, np.hypot(signal + noise[0], noise[1]).astype(np.float32), allow_pickle=False)


def start(name: str, data: Path) -> subprocess.Popen[str]:
    python = sys.executable if name == "unweight" else str(HERE / ".envs" / name / "bin" / "python")
    setup = {
        "data": str(data),
        "inversion_times": TIMES,
        "threads": THREADS,
        "columns": UKAT_COLUMNS,
    }
    return subprocess.Popen(
        [python, str(HERE / f"worker_{name}.py"), json.dumps(setup)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def ask(worker: subprocess.Popen[str]) -> float:
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()
    return float(json.loads(worker.stdout.readline())["seconds"])


def main() -> None:
    voxels = int(np.prod(SHAPE))
    count = {"unweight": voxels, "mrpro": voxels, "ukat": SHAPE[0] * UKAT_COLUMNS * SHAPE[2]}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "ir.npy"
        simulate(data)
        workers = {name: start(name, data) for name in count}
        speeds: dict[str, list[float]] = {name: [] for name in count}
        for turn in range(ROUNDS + 1):
            for name, worker in workers.items():
                if name == "ukat" and turn > 3:
                    continue
                speed = count[name] / ask(worker)
                if turn:  # the first turn warms up
                    speeds[name].append(speed)
    for worker in workers.values():
        worker.terminate()
    what = {
        "unweight": "3 parameters with std, every polarity",
        "mrpro": "0.261015, 2-parameter dictionary match, 1,000 T1",
        "ukat": "0.7.3, 3-parameter fit, 2 processes",
    }
    print(f"{voxels:,} voxels, {len(TIMES)} TIs, {THREADS} threads, {ROUNDS} rounds in turns\n")
    print("| program | what | voxels/s (median) | min to max | unweight is faster by |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name, measured in speeds.items():
        pairs = [own / other for own, other in zip(speeds["unweight"], measured, strict=False)]
        print(
            f"| {name} | {what[name]} | {statistics.median(measured):,.0f} "
            f"| {min(measured):,.0f} to {max(measured):,.0f} | {statistics.median(pairs):.2f} |"
        )


if __name__ == "__main__":
    main()
