"""Point clouds of a simulated scene: camera, ray casting, crop, sampling, pictures. NumPy and MuJoCo only."""
