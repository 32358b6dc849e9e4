"""MPRAGE from multi-echo gradient echo."""
