"""Derivatives: written as whole sets with provenance, and read back."""
