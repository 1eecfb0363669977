"""Making data sets: scripted demonstrations of a suite's tasks, written as stores."""
