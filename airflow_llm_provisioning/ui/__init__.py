"""The page inside Airflow: routes, views and assets. Loaded by the API server only."""
