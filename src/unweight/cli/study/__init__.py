"""`unweight run`, `init` and `slurm`: whole studies, here and on other machines."""
