"""The simulator: programs of tiles on servers and buffers, by SimPy or by a walk, to the same tick.

docs/simulator-walk.md shows how.
"""
