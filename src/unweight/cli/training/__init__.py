"""`unweight train`: what it learns from, how long it may take, what it prints and records."""
