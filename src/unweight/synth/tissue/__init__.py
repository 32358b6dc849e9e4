"""Tissue: materials, their parameters, texture, and the scenes composed of them."""
