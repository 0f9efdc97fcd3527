"""Reports: results as text, tables, figures and files. Nothing here decides a number."""
