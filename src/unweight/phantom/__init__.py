"""The NIST/ISMRM system phantom: facts, a digital copy, the finder and the sphere table."""
