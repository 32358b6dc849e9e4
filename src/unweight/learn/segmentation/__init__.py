"""Learned segmentation."""
