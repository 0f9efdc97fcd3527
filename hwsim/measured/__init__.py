"""Measured: whether predictions agree with measurements."""
