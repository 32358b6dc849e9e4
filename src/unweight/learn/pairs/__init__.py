"""Pairs of multi-echo gradient echo and T1w images, simulated and real: the data of two families."""
