-- The database of the results store. It is separate from Airflow's database, which has its own schema versions.
CREATE DATABASE llm_provisioning;
