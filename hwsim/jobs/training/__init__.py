"""A training step priced: recipes of formats, kernels, collectives, the pipeline over time, memory."""
