"""Parts of a plan on another machine, reached by the KServe V2 protocol; on the standard library and NumPy alone."""
