"""Susceptibility mapping."""
