"""A plan as figures and as one page: what it costs, what else was possible, and where it is cut."""
