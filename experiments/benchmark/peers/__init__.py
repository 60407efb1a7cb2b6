"""Proximal policy optimisation by other libraries, on the same worlds with a network of equal size."""
