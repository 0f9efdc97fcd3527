"""Hardware units: one Amaranth component for each spec of `hwsim.specs`, and `python -m rtl` to write their Verilog.

A unit is built from its spec object and owns no parameter of its own.
"""
