"""Weighted images made ready for maps: registration, bias field, brain mask. Arrays in, arrays out."""
