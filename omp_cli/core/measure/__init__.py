"""Measuring: success of policies and its statistics, plots and videos."""
