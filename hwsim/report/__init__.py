"""Reports: results as text for a terminal or a pipe. Nothing here computes a result."""
