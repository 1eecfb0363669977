"""Environments: a task over chunks of actions, and the processes in which many of them run."""
