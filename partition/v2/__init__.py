"""The Open Inference Protocol (KServe V2) over HTTP as bytes, by the standard library and NumPy alone."""
