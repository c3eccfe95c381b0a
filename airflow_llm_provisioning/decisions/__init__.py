"""Use cases after the trials, in plain Python: compare a run's variants, judge the run."""
