"""Files: what comes from disk and goes to it."""
