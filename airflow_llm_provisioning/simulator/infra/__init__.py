"""Nodes, scheduling, image delivery and kubelets of a simulated cluster."""
