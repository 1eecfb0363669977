"""Many tasks, seeds and methods from one file, as independent jobs."""
