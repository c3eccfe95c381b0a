-- The results store: never Airflow's own database, whose schema has versions of its own.
CREATE DATABASE llm_provisioning;
