"""A second reference of the units and a second bench, which import nothing of hwsim and rtl.

The units are made by the command `python -m rtl`; what their ports hold is read from what the command prints and from
the head of the file it writes. Values are Python's integers, and rounding is written here once more, from the OCP MX
specification and the project's own rules. The bench is plain Verilog for Icarus and Verilator, with random gaps at both
ends. `python -m tests.rtl.independent --inputs 100000` prints a row for each kind of unit that answers a stream.
"""
