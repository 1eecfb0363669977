"""The papers' table from the manifests of evaluations."""
