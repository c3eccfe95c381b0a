"""`llm-provisioning trace`: list the traces of a store, give one away as a file, take one in."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.commands.stored import opened_store, store_option
from airflow_llm_provisioning.core.replay import trace_bytes
from airflow_llm_provisioning.core.trace_file import exported, read_trace_file, refusal
from airflow_llm_provisioning.exceptions import TraceError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store import ResultsStore

# A refusal is no mistake in the command: whoever scripts it can tell the two apart.
REFUSED: Final = 3

EXPORT: Final = """\
Write a trial's trace to a file that anybody can replay: the recording as it is stored and, behind it, the trial's row
and what was computed from it by which version. Before it is written it is searched for what may be secret (values that
redaction drops, and texts shaped like credentials); what is found is named by its place, and nothing is written.

exit code:
  0   written
  2   the trial has no trace that can be read
  3   refused: it holds what may be secret (see --redact)"""

IMPORT: Final = """\
Put a trace from elsewhere into the store, under an id made of its content, so that importing it twice changes nothing.
It is marked as imported, with its file's name and its own origin (measured, simulated, or not stated), and it gets no
row among the trials: no table, report or comparison counts it. `trace list` shows it, `replay ID` computes it again and
compares it with what the file says was computed. gzip and plain JSON lines are read.

exit code:
  0   imported, or here already
  2   it cannot be read: no trace, or of a newer format
  3   refused: it holds what may be secret (see --redact)"""


def add_trace(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser("trace", help="list, export or import recorded traces")
    inner = parser.add_subparsers(required=True, metavar="export|import|list")
    form = argparse.RawDescriptionHelpFormatter
    giving = inner.add_parser(
        "export", help="write a trial's trace to a file", description=EXPORT, formatter_class=form
    )
    giving.add_argument("trial", metavar="TRIAL", help="the id of a trial or imported trace in the store")
    giving.add_argument("file", type=Path, metavar="FILE", help="where to; .jsonl.gz is the usual ending")
    giving.add_argument("--redact", action="store_true", help="take out of the file what may be secret, and write it")
    giving.set_defaults(command=run_export)
    taking = inner.add_parser(
        "import", help="put a trace file into the store", description=IMPORT, formatter_class=form
    )
    taking.add_argument("file", type=Path, metavar="FILE", help="a trace file (.jsonl or .jsonl.gz)")
    taking.add_argument("--redact", action="store_true", help="take out what may be secret, and import the rest")
    taking.set_defaults(command=run_import)
    listing = inner.add_parser("list", help="list every trace in the store, own and imported")
    listing.set_defaults(command=run_list)
    for each in (giving, taking, listing):
        store_option(each)


def run_export(parsed: argparse.Namespace) -> int:
    """Write a trace to a file."""
    try:
        with opened_store(parsed) as store:
            data = _exported(store, parsed.trial)
        found = read_trace_file(data)
    except TraceError as error:
        return _unreadable(error)
    if not found.clean and not parsed.redact:
        return _refused(refusal(found, "exported"))
    if not found.clean:
        found = found.cleaned()
    parsed.file.write_bytes(found.data)
    sys.stdout.write(f"{parsed.file}: {len(found.lines)} lines, origin {found.origin}, {_carries(found.carried)}\n")
    return 0


def run_import(parsed: argparse.Namespace) -> int:
    """Put a file into the store."""
    from airflow_llm_provisioning.gateways.traces import ImportedTrace

    try:
        found = read_trace_file(parsed.file.read_bytes())
    except (TraceError, OSError) as error:
        return _unreadable(error)
    if not found.clean and not parsed.redact:
        return _refused(refusal(found, "imported"))
    taken_out = len(found.findings)
    if not found.clean:
        found = found.cleaned()
    entry = ImportedTrace(
        found.trial_id, datetime.now(UTC), parsed.file.name, found.origin, found.named, redacted=taken_out
    )
    with opened_store(parsed) as store:
        new = store.traces.add_imported(entry, found.data, found.carried)
        namesake = found.named is not None and store.trial(found.named) is not None
    notes = [f"origin {found.origin}", _carries(found.carried)]
    notes += [f"{taken_out} values taken out"] if taken_out else []
    notes += [f"it was cut: {found.cut}"] if found.cut else []
    notes += [f"this store has a trial {found.named} of its own, which it leaves alone"] if namesake else []
    sys.stdout.write(f"{entry.trial_id}: {'imported' if new else 'here already'}; {'; '.join(notes)}\n")
    return 0


def run_list(parsed: argparse.Namespace) -> int:
    """List the traces."""
    with opened_store(parsed) as store:
        for item in store.traces.listed():
            come = item.imported
            whose = (
                f"imported {come.imported_at:%Y-%m-%d %H:%M} from {come.file_name}, {come.origin}"
                if come
                else "own trial"
            )
            by = item.analysis_version or "no result kept"
            sys.stdout.write(f"{item.trial_id}  {item.size_bytes} bytes  {whose}  {by}\n")
    return 0


def _exported(store: "ResultsStore", trial_id: str) -> bytes:
    chunks = store.trace(trial_id)
    trace_bytes(trial_id, chunks)
    row = store.trial(trial_id)
    return exported(chunks, row.summary() if row else {}, store.traces.analysis(trial_id))


def _carries(computed: Any) -> str:
    if computed is None:
        return "no result in it to compare with"
    return f"with its result, computed by {computed.version or 'an unknown version'}"


def _unreadable(error: Exception) -> int:
    sys.stderr.write(f"llm-provisioning: {error}\n")
    return 2


def _refused(sentence: str) -> int:
    sys.stderr.write(f"llm-provisioning: {sentence}\n")
    return REFUSED
