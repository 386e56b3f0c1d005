"""The commands of `cpt` and their options, by noun. What they do is imported when they run, so `--help` is quick."""
