"""Mapping: how an operation becomes tiles on a machine."""
