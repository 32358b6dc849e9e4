"""Runs in ukat's environment: three-parameter fit over two processes. A line of seconds per line read."""

import json
import sys
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore")
from ukat.mapping.t1 import T1  # noqa: E402

if __name__ == "__main__":
    setup = json.loads(sys.argv[1])
    times = np.asarray(setup["inversion_times"]) * 1e3
    data = np.load(setup["data"])[:, : setup["columns"]]
    for _ in sys.stdin:
        began = time.perf_counter()
        found = T1(data, times, np.eye(4), parameters=3, multithread=True)
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "t1": float(np.median(found.t1_map)) / 1e3}), flush=True)
