"""Composition: many methods over many sets, from simulation to scores and pictures."""
