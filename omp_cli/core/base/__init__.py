"""What every room of the core stands on: errors, settings, registries, manifests, runs, files, locks, processes."""
