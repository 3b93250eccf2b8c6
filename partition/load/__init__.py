"""Load: what other work takes from a machine's processors and memory, read, modelled and made on purpose."""
