"""Diffusion models, without a word of MRI: noise levels, denoisers, samplers, and what they must reach."""
