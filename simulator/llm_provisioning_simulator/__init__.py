"""Simulated clusters and cloud APIs over HTTP, labelled as simulated by the API server's /version.

A distribution of its own. It imports the provider's core only; operators and gateways reach it by configuration.
"""

__version__ = "0.2.0.dev0"
