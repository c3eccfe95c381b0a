"""Nodes, what schedules pods onto them and what runs them there."""
