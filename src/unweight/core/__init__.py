"""The nouns every other room speaks of: acquisition, protocol, parameter, maps, estimator."""
