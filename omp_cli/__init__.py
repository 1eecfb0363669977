"""omp: one-step generative robot policies, from demonstrations to measured success."""

__version__ = "0.1.0"
