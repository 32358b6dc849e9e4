"""Learned estimators of T1 from inversion recovery."""
