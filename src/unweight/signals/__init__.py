"""The physics of weighted images: one sequence a file."""
