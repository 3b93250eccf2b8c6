"""A small convolutional network that a benchmark trains on scikit-learn's digits, in plain NumPy."""

from benchmarks.digits.network import EARLY, FINAL, IMAGE, SIDE, Shape
from benchmarks.digits.training import N_TRAIN, NARROW, WIDE, Trained, trained_network

__all__ = ["EARLY", "FINAL", "IMAGE", "NARROW", "N_TRAIN", "SIDE", "WIDE", "Shape", "Trained", "trained_network"]
