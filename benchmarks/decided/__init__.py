"""Simulations behind the figures of `benchmarks/decisions.py`: made-up times, no cluster."""
