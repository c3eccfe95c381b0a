"""What many trials share is stored once, and what queries select, group and order by has an index.

Rows of an older schema get the keys and the reason why they do not count, from what they hold. How keys and reasons are
computed is written out here, because a migration must give the same result when the code has moved on. A test holds
them against the code of this version.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NAME = sa.String(length=250)
_FILLED = ("series", "facts")
_CHUNK = 500
# The part of an environment that says facts which may differ between trials of one arm.
_IMAGE = ("worker", "image")
_READ = (
    *(("head", "instance_type"), ("worker", "instance_type"), ("head", "zone"), ("worker", "zone"), ("worker", "gpu")),
    *(("worker", "driver"), ("worker", "os_image"), ("kuberay",), ("ray",), ("cluster", "gitVersion")),
    *(_IMAGE, ("worker", "image_digest")),
)
_INDEXES: Mapping[str, tuple[str, ...]] = {
    "ix_llmp_trials_opened_at": ("opened_at", "trial_id"),
    "ix_llmp_trials_experiment": ("experiment", "opened_at"),
    "ix_llmp_trials_dag_id": ("dag_id", "opened_at"),
    "ix_llmp_trials_arm": ("arm", "opened_at"),
    "ix_llmp_trials_status": ("status", "opened_at"),
    "ix_llmp_trials_series": ("series", "opened_at"),
    "ix_llmp_trials_series_run_id": ("series", "run_id"),
}
_REPLACED = ("ix_llmp_trials_opened_at", "ix_llmp_trials_experiment", "ix_llmp_trials_arm")


def upgrade() -> None:
    """Make the tables, add and fill the columns, and only then forbid NULL and make the indexes."""
    connection = op.get_bind()
    if connection.dialect.name == "sqlite" and connection.scalar(sa.text("PRAGMA foreign_keys")):
        raise RuntimeError("Schema 0005 rebuilds llmp_trials, which would delete its phases: open the store instead.")
    _make_tables()
    for name in _REPLACED:
        op.drop_index(op.f(name), "llmp_trials")
    for name in (*_FILLED, "path", "exclusion"):
        op.add_column("llmp_trials", sa.Column(name, _NAME, nullable=True))
    _fill(connection)
    with op.batch_alter_table("llmp_trials") as table:
        for name in _FILLED:
            table.alter_column(name, nullable=False, existing_type=_NAME)
    for name, columns in _INDEXES.items():
        op.create_index(op.f(name), "llmp_trials", list(columns), unique=False)
    if connection.dialect.name == "sqlite":
        _cluster_by_trial()


def downgrade() -> None:
    """Refuse: nothing would be lost, and nothing needs it."""
    raise NotImplementedError("A results store of schema 0005 is not made one of 0004.")


def _make_tables() -> None:
    op.create_table(
        "llmp_series",
        sa.Column("series", _NAME, nullable=False),
        sa.Column("arm", _NAME, nullable=False),
        sa.Column("stratum", _NAME, nullable=False),
        sa.Column("cell", _NAME, nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("series", name=op.f("pk_llmp_series")),
    )
    op.create_index(op.f("ix_llmp_series_arm"), "llmp_series", ["arm"], unique=False)
    op.create_index(op.f("ix_llmp_series_cell"), "llmp_series", ["cell"], unique=False)
    op.create_table(
        "llmp_shared",
        sa.Column("shared", _NAME, nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("shared", name=op.f("pk_llmp_shared")),
    )


def _cluster_by_trial() -> None:
    """Keep phases and milestones in the order of their keys, without a second copy of the key (SQLite only:
    sqlite.org/withoutrowid.html).
    """
    key = sa.ForeignKeyConstraint
    numbers = [sa.Column(name, sa.Float(), nullable=False) for name in ("duration_s", "low_s", "high_s")]
    instants = [sa.Column(name, sa.DateTime(timezone=True), nullable=False) for name in ("earliest_at", "latest_at")]
    wanted: Mapping[str, tuple[Sequence[sa.Column[Any]], tuple[str, str]]] = {
        "llmp_phases": (
            [
                sa.Column("position", sa.Integer(), nullable=False),
                sa.Column("name", sa.Text(), nullable=False),
                *numbers,
            ],
            ("trial_id", "position"),
        ),
        "llmp_milestones": (
            [sa.Column("name", _NAME, nullable=False), *instants, sa.Column("source", sa.Text(), nullable=False)],
            ("trial_id", "name"),
        ),
    }
    for name, (columns, primary) in wanted.items():
        op.create_table(
            f"{name}_new",
            sa.Column("trial_id", _NAME, nullable=False),
            *columns,
            key(["trial_id"], ["llmp_trials.trial_id"], name=op.f(f"fk_{name}_trial_id"), ondelete="CASCADE"),
            sa.PrimaryKeyConstraint(*primary, name=op.f(f"pk_{name}")),
            sqlite_with_rowid=False,
        )
        listed = ", ".join(["trial_id", *(column.name for column in columns)])
        order = ", ".join(primary)
        op.execute(f"INSERT INTO {name}_new ({listed}) SELECT {listed} FROM {name} ORDER BY {order}")  # noqa: S608 - constants
        op.drop_table(name)
        op.rename_table(f"{name}_new", name)


def _fill(connection: sa.Connection) -> None:
    read = ("trial_id", "status", "total_s", "start", "applied")
    documents = ("trial", "environment", "flags")
    written = (*_FILLED, "path", "exclusion")
    trials = sa.table(
        "llmp_trials",
        *[sa.column(name) for name in (*read, *written)],
        *[sa.column(name, sa.JSON()) for name in documents],
    )
    series = sa.table("llmp_series", *map(sa.column, ("series", "arm", "stratum", "cell")), _json("content"))
    shared = sa.table("llmp_shared", sa.column("shared"), _json("content"))
    update = (
        trials.update()
        .where(trials.c.trial_id == sa.bindparam("key", type_=_NAME))
        .values({name: sa.bindparam(name) for name in written})
    )
    seen: set[str] = set()
    for rows in _chunks(connection, trials, (*read, *documents)):
        paths = _paths(connection, [row["trial_id"] for row in rows])
        found = [(row["trial_id"], _filled(row, paths.get(row["trial_id"], []))) for row in rows]
        for table, rows_of in ((series, [parts[1] for _, parts in found]), (shared, [parts[2] for _, parts in found])):
            new = {str(each[table.name.removeprefix("llmp_")]): each for listed in rows_of for each in listed}
            fresh = [each for name, each in new.items() if name not in seen]
            seen |= new.keys()
            if fresh:
                connection.execute(table.insert(), fresh)
        connection.execute(update, [{"key": trial_id, **parts[0]} for trial_id, parts in found])


def _json(name: str) -> sa.ColumnClause[Any]:
    return sa.column(name, sa.JSON())


def _chunks(connection: sa.Connection, trials: sa.TableClause, names: Sequence[str]) -> Iterator[Sequence[Any]]:
    last = ""
    while True:
        query = sa.select(*[trials.c[name] for name in names]).where(trials.c.trial_id > last)
        rows = connection.execute(query.order_by(trials.c.trial_id).limit(_CHUNK)).mappings().all()
        if not rows:
            return
        yield rows
        last = rows[-1]["trial_id"]


def _paths(connection: sa.Connection, keys: Sequence[str]) -> dict[str, list[str]]:
    phases = sa.table("llmp_phases", *map(sa.column, ("trial_id", "position", "name")))
    query = sa.select(phases.c.trial_id, phases.c.name).where(phases.c.trial_id.in_(keys))
    found: dict[str, list[str]] = {}
    for trial_id, name in connection.execute(query.order_by(phases.c.trial_id, phases.c.position)):
        found.setdefault(trial_id, []).append(name)
    return found


def _filled(
    row: Mapping[str, Any], path: list[str]
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a row's new values, its series, and its shared contents."""
    arm, target = row["trial"]["arm"], row["trial"]["target"]
    content = {"arm": arm, "target": target}
    facts = _facts(row["environment"])
    values = {
        "series": _fingerprint(content),
        "facts": _fingerprint(facts),
        "path": _fingerprint({"phases": path}) if path else None,
        "exclusion": _exclusion(row, arm["treatments"]),
    }
    stratum = {name: value for name, value in arm["stratum"].items() if name != "workload"}
    named = {"stratum": _fingerprint(stratum), "variant": arm["variant"], "treatments": sorted(arm["treatments"])}
    cell = {
        "origin": stratum["origin"],
        "target": target,
        "workload": arm["stratum"].get("workload", ""),
        "setup": stratum["setup"],
        "variant": arm["variant"],
    }
    series = {
        "series": values["series"],
        "arm": _fingerprint(named),
        "stratum": named["stratum"],
        "cell": _fingerprint(cell),
        "content": content,
    }
    shared: list[dict[str, Any]] = [{"shared": values["facts"], "content": facts}]
    return values, [series], shared + ([{"shared": values["path"], "content": path}] if path else [])


def _facts(environment: Any) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for path in _READ:
        value = environment
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        value = str(value) if value and path == _IMAGE else value
        if isinstance(value, str) and value:
            parent = kept
            for key in path[:-1]:
                parent = parent.setdefault(key, {})
            parent[path[-1]] = value
    return kept


def _exclusion(row: Mapping[str, Any], treatments: Sequence[str]) -> str | None:
    """Return why a trial may not enter a comparison, or None."""
    total_s = row["total_s"]
    if row["status"] != "succeeded":
        return str(row["status"])
    if total_s is None:
        return "no total"
    # Neither NaN nor infinite nor negative.
    if not 0 < total_s < float("inf"):
        return "total is no duration"
    if any(str(flag).startswith("replaced:") for flag in row["flags"] or ()):
        return "pod replaced"
    if row["start"] != "cold":
        return f"start {row['start']}"[:250]
    if row["applied"] == "none" and treatments:
        return "treatment not verified"
    return None if row["applied"] in ("applied", "none") else f"treatment {row['applied']}"[:250]


def _fingerprint(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
