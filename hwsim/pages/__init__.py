"""Pages: this project's committed reports."""
