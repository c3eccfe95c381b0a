"""`llm-provisioning replay`: compute trials again from their traces and compare the results with the stored ones."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from airflow_llm_provisioning.commands.exit_codes import ExitCode
from airflow_llm_provisioning.commands.stored import read_store, store_option
from airflow_llm_provisioning.core.replay import (
    Difference,
    differences,
    replay,
    row_differences,
    trace_bytes,
)
from airflow_llm_provisioning.core.result import Computed
from airflow_llm_provisioning.core.trace_file import carried_result
from airflow_llm_provisioning.exceptions import StoreError, TraceError

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.result import TrialResult
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

Verdict = Literal["same", "differs", "computed", "cannot read"]

# "computed" had nothing to compare with, which is no difference.
EXIT: Final[dict[Verdict, ExitCode]] = {
    "same": ExitCode.DONE,
    "computed": ExitCode.DONE,
    "differs": ExitCode.OBJECTION,
    "cannot read": ExitCode.NOT_DONE,
}

DESCRIPTION: Final = """\
Compute a recorded trial again from its trace, and compare the result byte for byte with the earlier one: the one in the
store for a trial's id, the one in the file for an exported trace, or the one of --against.

Prints the total, every phase and every milestone with its bounds and its source, the verdicts with their evidence, the
flags, and the differences. For several traces: one line each, and the differences. A truncated trace is computed up to
its end, with a remark.

exit code:
  0   the same, or computed with nothing to compare it with (the output says which)
  1   it differs; every changed value is printed, old -> new
  2   it cannot be read: no trace, a newer format, not in the store; or the store or a file is unusable"""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One recomputed trace. `reason`: why it cannot be read, or a remark about the comparison."""

    name: str
    verdict: Verdict
    old: Computed | None = None
    new: Computed | None = None
    found: tuple[Difference, ...] = ()
    row: tuple[Difference, ...] = ()
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "trace": self.name,
            "verdict": self.verdict,
            "reason": self.reason,
            "computed_before_by": self.old.version if self.old else None,
            "computed_by": self.new.version if self.new else None,
            "differences": [item.as_dict() for item in self.found],
            "row_differences": [item.as_dict() for item in self.row],
            "result": self.new.document if self.new else None,
        }


def add_replay(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "replay",
        help="compute a recorded trial again from its trace, and compare",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    store_option(parser)
    parser.add_argument(
        "traces",
        nargs="*",
        metavar="TRACE",
        help="a trace file (.jsonl or .jsonl.gz), or the id of a trial or imported trace in the store",
    )
    parser.add_argument("--all", action="store_true", help="every trace in the store")
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="compare with the output of an earlier `replay --json`"
    )
    parser.add_argument("--json", action="store_true", help="print JSON: result, verdict and differences")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw phases and milestones with their bounds")
    parser.set_defaults(command=run_replay)


def run_replay(parsed: argparse.Namespace) -> int:
    """Run it."""
    if not (parsed.traces or parsed.all) or (parsed.all and parsed.traces):
        sys.stderr.write(
            "llm-provisioning replay: name one or more traces, or use --all for all traces in the store.\n"
        )
        return EXIT["cannot read"]
    if (parsed.svg or parsed.against) and len(parsed.traces) != 1:
        sys.stderr.write("llm-provisioning replay: --svg and --against need exactly one trace.\n")
        return EXIT["cannot read"]
    return _print_results(parsed, list(_replayed_all(parsed)))


def _print_results(parsed: argparse.Namespace, found: "list[Replayed]") -> int:
    if parsed.json:
        told: Any = found[0].as_dict() if len(parsed.traces) == 1 else [one.as_dict() for one in found]
        sys.stdout.write(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    elif len(parsed.traces) == 1:
        _print_whole(found[0])
    else:
        _print_lines(found)
    if parsed.svg and found[0].new is not None:
        from airflow_llm_provisioning.gateways.private_files import write_private
        from airflow_llm_provisioning.report.trace_figure import trace_figure

        write_private(parsed.svg, trace_figure(found[0].new.document, found[0].name))
    return max((EXIT[one.verdict] for one in found), default=ExitCode.DONE)


def _replayed_all(parsed: argparse.Namespace) -> Iterator[Replayed]:
    with ExitStack() as stack:
        store: ResultsStore | None = None
        names = list(parsed.traces)
        if parsed.all or any(not Path(name).is_file() and not _is_path(name) for name in names):
            store = stack.enter_context(read_store(parsed))
            names = names or [item.trial_id for item in store.traces.listed()]
        for name in names:
            try:
                yield _replayed(name, store, parsed.against)
            except (TraceError, StoreError, OSError) as error:
                yield Replayed(name, "cannot read", reason=str(error))


def _is_path(name: str) -> bool:
    """Return whether a name is that of a file by its form, so that no store is looked for if there is none."""
    return name.endswith((".jsonl", ".gz")) or name.startswith((".", "/", "~"))


def _replayed(name: str, store: "ResultsStore | None", against: Path | None) -> Replayed:
    from airflow_llm_provisioning.gateways.store.analysis_version import analysis_version

    row: TrialResult | None = None
    path = Path(name)
    if _is_path(name) and not path.is_file() and (store is None or not store.trace(name)):
        found = "is a folder" if path.is_dir() else "does not exist"
        raise TraceError(f"The file {path} {found} (looked for in {Path.cwd()}).")
    if path.is_file() or store is None:
        data = path.read_bytes()
        old = carried_result(data)
    else:
        old, row = store.traces.analysis(name), store.trial(name)
        chunks = store.trace(name)
        if row is not None and not chunks:
            raise TraceError(f"Trial {name} has a row but no recording, so it cannot be computed again.")
        data = trace_bytes(name, chunks)
    if against is not None:
        old = _earlier_result(against)
    new = Computed(analysis_version(), replay(data, list(row.arm.treatments) if row else None))
    return _compared(path.name if path.is_file() else name, old, new, row)


def _compared(name: str, old: Computed | None, new: Computed, row: "TrialResult | None") -> Replayed:
    told = new.document
    if told["outcome"] == "unreadable":
        return Replayed(name, "cannot read", old, new, reason=told["reason"])
    cut = next((flag for flag in told["flags"] if flag.startswith("cut:")), None)
    reason = f"computed up to the end of a truncated trace: {cut.removeprefix('cut: ')}" if cut else None
    found = differences(old, new) if old else ()
    # A row that differs from the analysis it was made of was changed by something else.
    of_row = row_differences(row, (old or new).document) if row else ()
    if found or of_row:
        return Replayed(name, "differs", old, new, found, of_row, reason)
    return Replayed(name, "same" if old or row else "computed", old, new, reason=reason)


def _earlier_result(path: Path) -> Computed:
    """Read the output of an earlier `replay --json` of one trace."""
    from airflow_llm_provisioning.core.replay import result_text

    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Computed(told["computed_by"], result_text(told["result"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TraceError(
            f"{path} was given for comparison and is not the output of `replay --json` of one trace."
        ) from error


def _print_whole(one: Replayed) -> None:
    from airflow_llm_provisioning.report.replay_text import result_lines

    if one.verdict == "cannot read":
        _say(f"llm-provisioning: {one.name} cannot be read: {one.reason}\n", sys.stderr)
        return
    _say(f"TRACE     {one.name}\n")
    if one.new is not None:
        _say("".join(f"{line}\n" for line in result_lines(one.new.document)))
    _say("\n")
    _print_verdict(one, "REPLAY    ")


def _print_lines(found: list[Replayed]) -> None:
    for one in found:
        if one.verdict == "cannot read":
            _say(f"{one.name}: cannot read: {one.reason}\n")
        else:
            _print_verdict(one, f"{one.name}: ")
    counts = {verdict: sum(one.verdict == verdict for one in found) for verdict in EXIT}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    _say(f"{len(found)} traces: {told or 'none'}\n")


def _print_verdict(one: Replayed, lead: str) -> None:
    from airflow_llm_provisioning.report.replay_text import difference_lines, total_text

    by = one.new.version if one.new else None
    before = one.old.version if one.old else None
    notes = f" ({one.reason})" if one.reason else ""
    if one.verdict == "computed":
        _say(f"{lead}computed by {by}; there is no earlier result to compare with{notes}\n")
    elif one.verdict == "same":
        what = "the same as the trial's row" if one.old is None else "the same, byte for byte, as before"
        whose = "" if before in (None, by) else f", which was computed by {before}"
        _say(f"{lead}{what}{whose}; computed by {by}{notes}\n")
    else:
        how = f"{before or 'an unknown version'} -> {by}" if before != by else f"both by {by}"
        totals = [total_text(item.document) for item in (one.old, one.new) if item]
        _say(f"{lead}differs, {how}: total {' -> '.join(totals)}{notes}\n")
        _say("".join(f"{line}\n" for line in difference_lines(one.found)))
        if one.row:
            _say("  the trial's row differs from its analysis (row -> computed):\n")
            _say("".join(f"  {line}\n" for line in difference_lines(one.row)))


def _say(text: str, stream: TextIO | None = None) -> None:
    """Write what names of files and texts of a cluster are part of."""
    from airflow_llm_provisioning.report.escaping import terminal_text

    (stream or sys.stdout).write(terminal_text(text))
