"""Alembic's entry: runs on the connection that the store hands over, inside its transaction."""

from alembic import context

from airflow_llm_provisioning.gateways.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="llmp_schema_version",
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
