"""GPU kernels: the time of a vendor library's kernels on cores."""
