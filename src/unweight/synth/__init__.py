"""Data with a known truth: phantoms, and the signals a scanner would give for them."""
