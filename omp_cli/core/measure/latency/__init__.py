"""Latency of a policy: what is timed (subjects), how (timer, samples, machine) and the figures (rows, parts, plot)."""
