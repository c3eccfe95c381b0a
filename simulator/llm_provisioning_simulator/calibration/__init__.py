"""Calibration: which parameter ranges of the simulator's profiles are consistent with given statements.

Approximate Bayesian computation: worlds are drawn from the ranges of the shipped profiles, a surrogate that is held to
whole trials says how long each trial of a world takes, and the worlds that agree with the statements are kept. The
shipped profiles are never changed; what comes out is a file of its own.
"""
