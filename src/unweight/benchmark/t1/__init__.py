"""T1 from inversion recovery."""
