"""Segmentations of simulated heads against their labels."""
