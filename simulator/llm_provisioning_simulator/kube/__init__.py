"""A Kubernetes API over HTTP."""
