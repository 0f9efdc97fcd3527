"""Jobs: one question, one answer."""
