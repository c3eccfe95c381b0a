"""Schema versions of the results store."""
