"""Operator graphs: networks as named tensors and ops, read from YAML, CSV or GEMM lists."""
