"""How long each layer takes on each machine: measured (timings files) or predicted (machine files)."""
