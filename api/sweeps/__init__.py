"""Sweeps: many jobs out of one base spec, as one object."""
