"""Atomic writes, locks, frozen sets of samples, small text files: no BIDS here."""
