"""Results for readers: tables, CSV, JSON and a page that opens offline. Reads the results store only."""
