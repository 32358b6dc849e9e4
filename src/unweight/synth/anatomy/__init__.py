"""Anatomy: labels of heads, their structures, lesions and deformations."""
