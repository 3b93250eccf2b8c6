"""Exits: a model, or several, that may answer early on the device; measured, chosen with the cut, and run."""
