"""Learned synthesis of MPRAGE from multi-echo gradient echo."""
