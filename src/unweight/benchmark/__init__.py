"""Benchmarks: methods compared on simulated and real data, from cases to scores, tables and figures."""
