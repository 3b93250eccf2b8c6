"""Input-dependent routing: time as a function of the input's length, networks of machines, routers, simulation."""
