"""Run a plan: split ONNX Runtime sessions, and the proof that they compute what the whole model computes."""
