"""Makes big results stores and measures them."""
