"""Exams as they come: what each image shows according to its header, and which images are mapped."""
