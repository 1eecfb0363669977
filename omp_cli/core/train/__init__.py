"""Supervised pre-training: loop, optimiser and EMA, resume, distribution, trackers."""
