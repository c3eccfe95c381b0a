"""Names of Airflow that the tests need and that have moved between its releases 3.1 and 3.3."""

try:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk.serde import deserialize, serialize
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # Airflow 3.1
    from airflow.models.dagbag import DagBag
    from airflow.serialization.serde import deserialize, serialize
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization

__all__ = ["DagBag", "DagSerialization", "deserialize", "serialize"]
