"""Labelled heads and images of any contrast drawn from them: the data of two families."""
