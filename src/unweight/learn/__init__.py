"""Learned estimators: recipes, training, and what they stand on."""
