"""Problems of a file -> one error, a line for each. Knows nothing of what is in the file."""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from airflow_llm_provisioning.exceptions import ConfigurationError

# A file that is wrong everywhere needs no complete list.
_TOLD_AT_MOST: Final = 20


def refuse(where: str, problems: Iterable[str]) -> None:
    """Raise a ConfigurationError with the problems of a file, one line each; without a problem do nothing.

    Only the first of many are told, and only these are asked for.
    """
    told = list(islice(problems, _TOLD_AT_MOST + 1))
    if not told:
        return
    lines = [f"{where}: {problem}" for problem in told[:_TOLD_AT_MOST]]
    if len(told) > _TOLD_AT_MOST:
        lines.append(f"{where}: there are more problems; these are the first {_TOLD_AT_MOST}.")
    raise ConfigurationError("\n".join(lines))
