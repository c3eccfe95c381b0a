"""The views: what the store says, as HTML. They know no request and no user; what may be shown is decided before."""
