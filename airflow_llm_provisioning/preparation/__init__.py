"""Use cases before the trials, in plain Python: what is asked first, cloud operations, nodes, warm caches."""
