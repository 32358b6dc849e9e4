"""A brain mask of any contrast, by a network that learns from labels alone."""
