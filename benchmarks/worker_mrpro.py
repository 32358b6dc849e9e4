"""In mrpro's environment: two-parameter dictionary match over 1,000 T1. One run per line read."""

import json
import sys
import time
import warnings

import numpy as np
import torch

warnings.filterwarnings("ignore")
from mrpro.operators import DictionaryMatchOp, MagnitudeOp  # noqa: E402
from mrpro.operators.models import InversionRecovery  # noqa: E402

setup = json.loads(sys.argv[1])
torch.set_num_threads(setup["threads"])
times = torch.tensor(setup["inversion_times"], dtype=torch.float32)
data = torch.tensor(np.moveaxis(np.load(setup["data"]), -1, 0), dtype=torch.float32)
parts = data.split(4, dim=-1)  # 16,384 voxels at a time, which it handles faster than all at once
t1 = torch.logspace(np.log10(0.02), np.log10(5), 1000)
model = MagnitudeOp() @ InversionRecovery(ti=times)
match = DictionaryMatchOp(model, 0).append(torch.ones(1), t1)
for _ in sys.stdin:
    began = time.perf_counter()
    found = torch.cat([match(part)[1] for part in parts], dim=-1)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "t1": float(found.median())}), flush=True)
