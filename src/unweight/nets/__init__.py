"""Networks that know no MRI: (batch, channels, *space) in, the same out; weights from a given generator."""
