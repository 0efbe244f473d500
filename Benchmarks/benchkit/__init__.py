"""What the benchmarks share: programs to measure, a site on this machine, processes seen from /proc, and the report."""
