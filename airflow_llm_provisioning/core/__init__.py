"""The experiment itself, pure: no Airflow, no SDK, no network, no database, no file, no clock."""
