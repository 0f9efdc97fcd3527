"""Tests of serving under load."""
