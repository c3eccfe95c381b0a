"""From a trace to instants with bounds, phases that sum to the total, and what else can be said of a trial."""
