"""Reinforcement learning past the demonstrations: environments in worker processes, rollouts, algorithms."""
