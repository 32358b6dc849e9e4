"""How good are the maps: pure functions from maps and references to numbers."""
