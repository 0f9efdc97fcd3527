"""Language models as workloads."""
