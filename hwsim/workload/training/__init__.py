"""A training step of a language model as ops: forward, both backward GEMMs, loss, optimiser, collectives."""
