"""Training that any network shares: loop, sample cache, checkpoints, weights, calibration, model cards."""
