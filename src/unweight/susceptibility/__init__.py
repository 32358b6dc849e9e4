"""Field physics: from magnetic susceptibility to the field a scanner sees, and back."""
