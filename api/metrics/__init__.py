"""The metrics of jobs: read in pages, sampled for plots, or exported whole."""
