"""Takes what looks like a secret out of whatever text a line holds: logs, messages, arguments, URLs.

The last of two fences: `core.trace.redact` drops what stands where secrets belong (values of variables, data of
Secrets); this takes what strayed elsewhere. It knows shapes, not fields.
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
    """Return an encoded line without what looks like a secret."""
    for landmark, shape in _SHAPES:
        if landmark in line:
            line = shape.sub(_REDACTED, line)
    return line
