"""Heads to simulate, from files: BrainWeb, MNI152, and any label image."""
