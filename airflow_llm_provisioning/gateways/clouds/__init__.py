"""Clouds: one file each. Nothing here is imported before a connection asks for it."""
