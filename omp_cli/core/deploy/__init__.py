"""A policy outside this package: one graph from raw observation to raw action, and the runtimes that execute it."""
