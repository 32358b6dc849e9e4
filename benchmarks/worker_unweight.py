"""Three parameters with standard deviations. A line of seconds per line read."""

import json
import sys
import time

import numpy as np
import torch

from unweight.core.acquisition import Acquisition
from unweight.core.protocol import protocol_from_values
from unweight.fit.inversion_recovery import InversionRecoveryFit

setup = json.loads(sys.argv[1])
torch.set_num_threads(setup["threads"])
acquisition = Acquisition(
    signal=torch.from_numpy(np.load(setup["data"])),
    protocol=protocol_from_values(inversion_time=setup["inversion_times"]),
)
fit = InversionRecoveryFit(b_range=tuple(setup.get("b_range", (0.5, 3.0))))
for _ in sys.stdin:
    began = time.perf_counter()
    maps = fit(acquisition)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "t1": float(maps.value("T1").nanmedian())}), flush=True)
