"""Codecs of what crosses: measured on a model and its data, chosen together with the cut, put into the parts."""
