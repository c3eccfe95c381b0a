"""Waits. A trigger carries names, never tokens; it opens its gateway itself and ends with one event, also when it
fails.
"""
