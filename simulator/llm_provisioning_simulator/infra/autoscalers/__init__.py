"""The node autoscalers of the simulated clusters: each reads what was really applied for it, and nothing else."""
