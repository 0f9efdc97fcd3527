"""Pages: programs that write this project's committed reports."""
