"""Several files become one series: parts, timings, geometry, overrides by the caller."""
