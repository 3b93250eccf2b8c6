"""What the library promises about speed, measured: ``python -m benchmarks NAME``."""
