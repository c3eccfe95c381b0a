"""The Dockerfile of a serving image, made of checked parts: no part can become another instruction or command.

A recipe may come from the parameters of a DAG run, so its author is not trusted with the build's shell.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from airflow_llm_provisioning.core.image_reference import checked_reference
from airflow_llm_provisioning.core.secrets import redacted_text
from airflow_llm_provisioning.exceptions import ConfigurationError

# PEP 508 and pip's addresses and paths. No option: one could name another index for every package.
_ADDRESS: Final = r"[^\s'\"`\\;]+"
_REQUIREMENT: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\s*(?:\[[\w\s,.-]*\])?\s*"
    rf"(?:@\s*{_ADDRESS}|\(?[\w\s.*+!<>=~,-]*\)?)"
    rf"|(?:[a-z]+\+)?[a-z]+://{_ADDRESS}|\.{{0,2}}/{_ADDRESS})\s*(?:;[\w\s.\"()<>=!~,+-]+)?",
    re.ASCII,
)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST: Final = 2000
# A file of another Python, as some packages' test data are, is left as it is; the build fails only without Python.
COMPILE: Final = (
    "RUN python -c 'import compileall, site; "
    "[compileall.compile_dir(path, quiet=2, workers=0) for path in site.getsitepackages()]'"
)


def dockerfile(base: str, pip: Sequence[str], env: Mapping[str, str], *, bytecode: bool = False) -> str:
    """Return the Dockerfile: one RUN for the packages (one layer), one to compile what is installed, environment last.

    Raises ConfigurationError for a part that is no reference, requirement or variable.
    """
    lines = [f"FROM {checked_reference(base)}"]
    if pip:
        lines.append("RUN pip install --no-cache-dir " + " ".join(f"'{_package(item)}'" for item in pip))
    lines += [COMPILE] if bytecode else []
    lines += [f"ENV {_name(key)}={_value(key, value)}" for key, value in sorted(env.items())]
    return "\n".join(lines) + "\n"


def _package(item: object) -> str:
    if not isinstance(item, str) or len(item) > _LONGEST or _CONTROL.search(item) or not _REQUIREMENT.fullmatch(item):
        raise ConfigurationError(
            f"The image recipe's package {redacted_text(repr(item)[:80])} is no requirement of pip, such as "
            "vllm==0.5.4 or name @ https://host/file.whl."
        )
    return item


def _name(name: object) -> str:
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        raise ConfigurationError(
            f"The image recipe's variable {repr(name)[:80]} has no valid name: allowed are letters, "
            "digits and underscores."
        )
    return name


def _value(name: str, value: object) -> str:
    """Return a variable's value as a Dockerfile needs it: quoted, where a space or a sign would change its meaning."""
    if not isinstance(value, str) or _CONTROL.search(value):
        raise ConfigurationError(
            f"The image recipe's variable {name} must be a text of one line: a Dockerfile cannot hold another value."
        )
    if _PLAIN.fullmatch(value):
        return value
    return '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"'
