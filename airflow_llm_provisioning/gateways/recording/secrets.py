"""Removes texts that look like secrets from a line: logs, messages, arguments, URLs.

This is the second of two filters: `core.trace.redact` drops the fields that contain secrets (values of variables, data
of Secrets), and this filter removes secrets from all other texts. It knows formats, not fields.
"""

import re
from typing import Final

from airflow_llm_provisioning.core.trace.redaction import REDACTED
from airflow_llm_provisioning.core.trace.secret_shapes import SHAPES

_REDACTED: Final = REDACTED.encode()
_SHAPES: Final = tuple(
    (landmark.encode(), re.compile(shape.pattern.encode())) for shape in SHAPES for landmark in shape.landmarks
)


def without_secrets(line: bytes) -> bytes:
    """Return an encoded line without texts that look like secrets."""
    for landmark, shape in _SHAPES:
        if landmark in line:
            line = shape.sub(_REDACTED, line)
    return line
