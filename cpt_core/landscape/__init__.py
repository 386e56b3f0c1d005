"""The loss around a trained network's weights: how wide the minimum is that training has found.

directions  two random directions, filter-normalised (Li et al. 2018, arXiv 1712.09913)
surface     the loss on a grid of the plane that they span, and the sharpness of the minimum
measure     both, of checkpoints: rebuilds the model and evaluates it as training did
record      what was measured, as data
plot        the same as contours side by side on one colour scale; needs matplotlib
"""

from __future__ import annotations

from cpt_core.landscape.record import Landscape, LandscapeError, Sharpness, Surface

__all__ = ["Landscape", "LandscapeError", "Sharpness", "Surface"]
