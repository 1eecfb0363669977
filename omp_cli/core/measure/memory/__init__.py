"""Memory of a training step: measured on CUDA, measured on the CPU, predicted for CUDA."""
