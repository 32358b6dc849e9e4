"""T1, T2 and PD from weighted images."""
