"""Parts of a layer: one file per kind, each with its counts, its caches, its share on one chip, and its ops."""
