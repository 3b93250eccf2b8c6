"""The experiments of three papers on their own networks: Neurosurgeon, Wang (branches) and DADS (minimum cuts).

The machines are simulated: shapes of shipped machine files times factors that are stated once (`setting`). Placements,
baselines and their prices are computed, never measured here; only the section ``zoo`` runs anything.
"""
