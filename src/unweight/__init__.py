"""Quantitative maps of the brain from weighted MR images, with error bars that hold."""

__version__ = "0.1.0"
