"""Compute bounded instants, the phases that sum to the total, and all other results from a trace."""
