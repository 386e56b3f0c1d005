"""Datasets that clients upload: archives, checked when they come, immutable, named in specs by `dataset.upload`."""
