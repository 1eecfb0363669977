"""Demonstrations on disk, windows over them, and their making."""
