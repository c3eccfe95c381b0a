"""`llm-provisioning trace`: list the traces of a store, export one to a file, import one from a file."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.commands.exit_codes import ExitCode
from airflow_llm_provisioning.commands.stored import opened_store, read_store, store_option
from airflow_llm_provisioning.core.replay import trace_bytes
from airflow_llm_provisioning.core.trace_file import exported, read_trace_file, refusal
from airflow_llm_provisioning.gateways.private_files import write_private

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

EXPORT: Final = """\
Write a trial's trace to a file that can be replayed anywhere: the recording as it is stored, followed by the trial's
row and its analysis with the version that computed it. The trace is first searched for possible secrets (values that
redaction drops, and texts that look like credentials). If there are any, their places are printed and nothing is
written.

exit code:
  0   written
  2   the trial has no readable trace
  3   refused: it may contain secrets (see --redact)"""

IMPORT: Final = """\
Import a trace from elsewhere into the store. Its id is computed from its content, so a second import changes nothing.
It is marked as imported, with its file's name and its origin (measured, simulated, or not stated). It gets no row among
the trials, so no table, report or comparison counts it. `trace list` shows it; `replay ID` computes it again and
compares it with the analysis in the file. gzip and plain JSON lines are read.

exit code:
  0   imported, or already in the store
  2   it cannot be read: no trace, or a newer format
  3   refused: it may contain secrets (see --redact)"""


def add_trace(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser("trace", help="list, export or import recorded traces")
    inner = parser.add_subparsers(required=True, metavar="export|import|list")
    form = argparse.RawDescriptionHelpFormatter
    giving = inner.add_parser(
        "export", help="write a trial's trace to a file", description=EXPORT, formatter_class=form
    )
    giving.add_argument("trial", metavar="TRIAL", help="the id of a trial or imported trace in the store")
    giving.add_argument("file", type=Path, metavar="FILE", help="output file, usually .jsonl.gz")
    giving.add_argument("--redact", action="store_true", help="remove possible secrets from the file, and write it")
    giving.set_defaults(command=run_export)
    taking = inner.add_parser(
        "import", help="put a trace file into the store", description=IMPORT, formatter_class=form
    )
    taking.add_argument("file", type=Path, metavar="FILE", help="a trace file (.jsonl or .jsonl.gz)")
    taking.add_argument("--redact", action="store_true", help="remove possible secrets, and import the rest")
    taking.set_defaults(command=run_import)
    listing = inner.add_parser("list", help="list all traces in the store: own trials and imported ones")
    listing.set_defaults(command=run_list)
    for each in (giving, taking, listing):
        store_option(each)


def run_export(parsed: argparse.Namespace) -> int:
    """Write a trace to a file."""
    with read_store(parsed) as store:
        data = _exported(store, parsed.trial)
    found = read_trace_file(data)
    if not found.clean and not parsed.redact:
        return _refused(refusal(found, "exported"))
    if not found.clean:
        found = found.cleaned()
    write_private(parsed.file, found.data)
    sys.stdout.write(f"{parsed.file}: {len(found.lines)} lines, origin {found.origin}, {_carries(found.carried)}\n")
    return ExitCode.DONE


def run_import(parsed: argparse.Namespace) -> int:
    """Import a trace file into the store."""
    from airflow_llm_provisioning.gateways.store.traces import ImportedTrace

    found = read_trace_file(parsed.file.read_bytes())
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
        same_name = found.named is not None and store.trial(found.named) is not None
    notes = [f"origin {found.origin}", _carries(found.carried)]
    notes += [f"{taken_out} values removed"] if taken_out else []
    notes += [f"it is truncated: {found.cut}"] if found.cut else []
    notes += [f"this store has another trial {found.named}, which is not changed"] if same_name else []
    sys.stdout.write(f"{entry.trial_id}: {'imported' if new else 'already in the store'}; {'; '.join(notes)}\n")
    return ExitCode.DONE


def run_list(parsed: argparse.Namespace) -> int:
    """List the traces."""
    with read_store(parsed) as store:
        for item in store.traces.listed():
            source = item.imported
            whose = (
                f"imported {source.imported_at:%Y-%m-%d %H:%M} from {source.file_name}, {source.origin}"
                if source
                else "own trial"
            )
            by = item.analysis_version or "no result stored"
            sys.stdout.write(f"{item.trial_id}  {item.size_bytes} bytes  {whose}  {by}\n")
    return ExitCode.DONE


def _exported(store: "ResultsStore", trial_id: str) -> bytes:
    chunks = store.trace(trial_id)
    trace_bytes(trial_id, chunks)
    row = store.trial(trial_id)
    return exported(chunks, row.summary() if row else {}, store.traces.analysis(trial_id))


def _carries(computed: Any) -> str:
    if computed is None:
        return "without a result to compare with"
    return f"with its result, computed by {computed.version or 'an unknown version'}"


def _refused(sentence: str) -> int:
    sys.stderr.write(f"llm-provisioning: {sentence}\n")
    return ExitCode.REFUSED
