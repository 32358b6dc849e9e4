"""Learned estimators of T1, T2 and PD from T1w, T2w and FLAIR images."""
