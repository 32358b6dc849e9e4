"""Networks independent of MRI: (batch, channels, *space) in and out; weights from a given generator."""
