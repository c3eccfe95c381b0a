"""Results as people read them: tables, CSV, JSON and a page that opens offline. Reads the results store, nothing
else.
"""
