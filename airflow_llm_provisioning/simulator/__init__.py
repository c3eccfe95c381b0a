"""Stand-in clusters and cloud APIs over HTTP. First-class, documented, and labelled: the API server's /version says
it is simulated.

It imports the core only. Operators and gateways do not know it: it is reached by configuration.
"""
