"""Clouds: one folder each, with all that is known of it. `registry.py` names them; importing this costs nothing."""
