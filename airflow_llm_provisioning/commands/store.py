"""`llm-provisioning store`: check a results store, bring it up to date, delete old recordings, copy it elsewhere."""

import argparse
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.commands.exit_codes import ExitCode
from airflow_llm_provisioning.commands.stored import Location, as_url, location, named
from airflow_llm_provisioning.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store.copying import Copied
    from airflow_llm_provisioning.gateways.store.pruning import Prunable

COPY: Final = """\
Copy every row of a store into another database, of the same or another kind: SQLite to PostgreSQL and back. The target
is created if need be. A target that holds rows is refused, unless --resume says that an earlier copy was interrupted:
then rows that are there stay, and one that differs ends the copy. At the end the rows of every table are counted."""

PRUNE: Final = """\
Delete recordings (traces), which take most of the room of a store. The row of a trial stays with its phases,
milestones and verdicts; it cannot be computed again. Without --yes nothing is deleted, and what would be is printed."""

_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_MOST_BYTES: Final = 10**18


def add_store(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("store", help="check, migrate, prune or copy a results store")
    inner = parser.add_subparsers(required=True, metavar="check|migrate|prune|copy")
    form = argparse.RawDescriptionHelpFormatter
    checking = _named(inner.add_parser("check", help="look for rows that are lost, and at the schema's version"))
    checking.set_defaults(command=_check)
    migrating = _named(inner.add_parser("migrate", help="bring the schema up to date"))
    migrating.set_defaults(command=_migrate)
    pruning = _named(inner.add_parser("prune", help="delete old recordings", description=PRUNE, formatter_class=form))
    pruning.add_argument("--older-than", type=_age, metavar="DAYS", help="recordings last written so many days ago")
    pruning.add_argument(
        "--max-size", type=_size, metavar="SIZE", help="the oldest ones, until the others take this much: 500M, 20G"
    )
    pruning.add_argument("--yes", action="store_true", help="delete them")
    pruning.set_defaults(command=_prune)
    copying = inner.add_parser("copy", help="copy into another database", description=COPY, formatter_class=form)
    for name, what in (("source", "copied from"), ("target", "copied to")):
        copying.add_argument(
            name, type=named, metavar=name.upper(), help=f"{what}: URL, SQLite file, or conn:ID of a connection"
        )
    copying.add_argument("--resume", action="store_true", help="go on with a copy that was interrupted")
    copying.set_defaults(command=_copy)


def _named(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        "store",
        nargs="?",
        type=named,
        metavar="URL",
        help="the store: URL, SQLite file, or conn:ID of an Airflow connection (default: as for the other commands)",
    )
    parser.set_defaults(store_conn=None)
    return parser


def _check(parsed: argparse.Namespace) -> int:
    from airflow_llm_provisioning.gateways.store.checks import check_store
    from airflow_llm_provisioning.gateways.store.copying import rows_of
    from airflow_llm_provisioning.gateways.store.database import HEAD
    from airflow_llm_provisioning.gateways.store.reading import open_for_reading, stored_schema

    url = _said(_location(parsed))
    found = stored_schema(url)
    if found != HEAD:
        _say(f"Schema {found}, this version of the package writes {HEAD}: run `llm-provisioning store migrate`.")
        return ExitCode.OBJECTION
    engine, closed = open_for_reading(url)
    try:
        findings, rows = check_store(engine), rows_of(engine)
    finally:
        engine.dispose()
    closed()
    _say(f"Schema {HEAD}, up to date.")
    _say("Rows: " + (", ".join(f"{n} in {name}" for name, n in rows.items()) or "none") + ".")
    for finding in findings:
        _say(f"{'Wrong' if finding.wrong else 'Note'}: {finding}.")
    if any(finding.wrong for finding in findings):
        return ExitCode.OBJECTION
    _say("Nothing is wrong.")
    return ExitCode.DONE


def _migrate(parsed: argparse.Namespace) -> int:
    from airflow_llm_provisioning.gateways.store.database import HEAD, open_engine
    from airflow_llm_provisioning.gateways.store.reading import stored_schema

    url = _said(_location(parsed))
    found = stored_schema(url)
    open_engine(url).dispose()
    _say(f"Schema {HEAD}, it was up to date." if found == HEAD else f"Schema {found} is now {HEAD}.")
    return ExitCode.DONE


def _prune(parsed: argparse.Namespace) -> int:
    from airflow_llm_provisioning.gateways.store.database import open_engine
    from airflow_llm_provisioning.gateways.store.pruning import prunable, prune
    from airflow_llm_provisioning.gateways.store.reading import stored_schema

    if parsed.older_than is None and parsed.max_size is None:
        raise ConfigurationError("Nothing says which recordings to delete: give --older-than, --max-size or both.")
    url = _said(_location(parsed))
    stored_schema(url)
    engine = open_engine(url)
    try:
        found = prunable(engine, now=datetime.now(UTC), older_than=parsed.older_than, most_bytes=parsed.max_size)
        _say(_told(found))
        if parsed.yes:
            prune(engine, found.chosen)
            _say(f"Deleted: {len(found.chosen)} recordings. The database uses their room again for new rows.")
        elif found.chosen:
            _say("Nothing was deleted: give --yes to delete them.")
    finally:
        engine.dispose()
    return ExitCode.DONE


def _told(found: "Prunable") -> str:
    what = f"{len(found.chosen)} of {found.held} recordings, {_mb(found.freed_bytes)} of {_mb(found.held_bytes)}"
    if not found.chosen:
        return f"To delete: {what}."
    first, last = found.chosen[0].written_at, max(each.written_at for each in found.chosen)
    return f"To delete: {what}, written from {first:%Y-%m-%d} to {last:%Y-%m-%d}. The trials' rows stay."


def _copy(parsed: argparse.Namespace) -> int:
    from airflow_llm_provisioning.gateways.store.copying import copy_store
    from airflow_llm_provisioning.gateways.store.database import open_engine
    from airflow_llm_provisioning.gateways.store.reading import open_for_reading

    source, target = (_said(_of(given), what) for given, what in ((parsed.source, "From"), (parsed.target, "To")))
    if source == target:
        raise ConfigurationError("Source and target are the same store.")
    read, closed = open_for_reading(source)
    try:
        written = open_engine(target)
        try:
            copied = copy_store(read, written, resume=parsed.resume, tell=_tell)
        finally:
            written.dispose()
    finally:
        read.dispose()
    closed()
    _say(f"Copied: {sum(each.written for each in copied)} rows; the rows of all {len(copied)} tables are there.")
    return ExitCode.DONE


def _tell(copied: "Copied") -> None:
    if copied.source:
        _say(f"{copied.table}: {copied.written} written, {copied.target} of {copied.source} there")


def _location(parsed: argparse.Namespace) -> Location:
    return location(parsed) if parsed.store is None else _of(parsed.store)


def _of(given: str) -> Location:
    """Return a store as it was given; a password need not stand on the command line."""
    from airflow_llm_provisioning.connections import store_url

    name = given.removeprefix("conn:")
    return Location(as_url(given), "as given") if name == given else Location(store_url(name), f"connection {name}")


def _said(found: Location, what: str = "Results store") -> str:
    from airflow_llm_provisioning.gateways.store.database import store_address

    sys.stderr.write(f"{what}: {store_address(found.url)[1]} ({found.named_by})\n")
    return found.url


def _say(text: str) -> None:
    from airflow_llm_provisioning.report.escaping import terminal_text

    sys.stdout.write(f"{terminal_text(text)}\n")
    sys.stdout.flush()


def _age(text: str) -> timedelta:
    """Read a number of days, `90` or `90d`."""
    try:
        days = float(text.removesuffix("d"))
    except ValueError:
        days = -1.0
    if not 0 <= days < 36_500:
        raise argparse.ArgumentTypeError(f"{text} is no number of days: write 90 or 90d")
    return timedelta(days=days)


def _size(text: str) -> int:
    """Read a size: `500M`, `20GB`, a number of bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", text.strip().lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text} is no size: write 500M or 20G")
    size = float(found[1]) * _UNITS[found[2]]
    if size > _MOST_BYTES:
        raise argparse.ArgumentTypeError(f"{text[:20]} is more than any disk holds: write 500M or 20G")
    return int(size)


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
