"""Use cases of a trial, in plain Python: render, open, apply, delete, close. They know no Airflow class."""
