"""Single layers of all types and sizes, put together into models whose kernels a calibration times."""
