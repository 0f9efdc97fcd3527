"""Files: reading and writing, YAML with places, fields, tables, figures."""
