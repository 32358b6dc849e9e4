"""Checks that a class keeps its contract: for the models here and for anyone's own."""
