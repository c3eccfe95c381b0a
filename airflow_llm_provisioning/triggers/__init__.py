"""Waits. A trigger stores names, never tokens; it opens its gateway itself and ends with one event, also after a
failure.
"""
