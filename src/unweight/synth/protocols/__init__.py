"""Protocols: standard ones, and priors over them."""
