"""Jobs: one question answered by one result: a run, a GEMM, a deployment, a timeline."""
