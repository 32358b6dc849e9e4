"""The benchmark of brain masks."""
