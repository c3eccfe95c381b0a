"""The exit codes of every command of `llm-provisioning`. docs/results.md has the same list."""

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """What a command's exit code says."""

    DONE = 0
    OBJECTION = 1
    NOT_DONE = 2
    REFUSED = 3
    INTERRUPTED = 130


MEANINGS: Final = {
    ExitCode.DONE: "done; nothing to object to",
    ExitCode.OBJECTION: "done, and the answer is no: `replay` found a difference, `preflight` found an error",
    ExitCode.NOT_DONE: "not done: wrong arguments, a file, store, trace or connection that is missing or unusable",
    ExitCode.REFUSED: "refused: `trace` found possible secrets and `--redact` was not given",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
}

EXIT_CODES: Final = "exit codes:\n" + "".join(f"  {code:<4} {meaning}\n" for code, meaning in MEANINGS.items())
