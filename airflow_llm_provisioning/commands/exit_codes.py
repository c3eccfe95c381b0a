"""The exit codes of every command of `llm-provisioning`. docs/results.md has the same list."""

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """What a command's exit code says."""

    DONE = 0
    OBJECTION = 1
    NOT_DONE = 2
    REFUSED = 3
    # EX_TEMPFAIL of sysexits.h: try again later.
    NO_CAPACITY = 75
    INTERRUPTED = 130


MEANINGS: Final = {
    ExitCode.DONE: "done; nothing to object to",
    ExitCode.OBJECTION: "the answer is no: `replay` found a difference, `preflight` an error, `gate` a slower arm, "
    "`owned` or `reap` something that is expired, orphaned, vanished or not recorded",
    ExitCode.NOT_DONE: "not done: wrong arguments, a file, store, trace or connection that is missing or unusable; "
    "`gate`: undecided, because there are too few trials; `owned`, `reap`: a place could not be listed",
    ExitCode.REFUSED: "refused: `trace` found possible secrets and `--redact` was not given; `gate`: not judged",
    ExitCode.NO_CAPACITY: "`gate`: the cloud had no nodes for the trials that are missing",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
}

EXIT_CODES: Final = "exit codes:\n" + "".join(f"  {code:<4} {meaning}\n" for code, meaning in MEANINGS.items())
