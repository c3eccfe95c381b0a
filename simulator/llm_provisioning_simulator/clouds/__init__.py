"""Stand-ins for the clouds' own APIs."""
