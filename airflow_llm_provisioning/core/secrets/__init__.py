"""The one redactor: what is written anywhere passes it. Secrets are found by name, by place and by shape."""

from airflow_llm_provisioning.core.secrets.names import KEPT_ENV, Named, named
from airflow_llm_provisioning.core.secrets.shapes import SHAPES, shapes_in
from airflow_llm_provisioning.core.secrets.texts import REDACTED
from airflow_llm_provisioning.core.secrets.values import Redactor, redacted_text, redacted_value

__all__ = [
    "KEPT_ENV",
    "REDACTED",
    "SHAPES",
    "Named",
    "Redactor",
    "named",
    "redacted_text",
    "redacted_value",
    "shapes_in",
]
