"""Strata and arms: what groups trials becomes columns with indexes, and the rest of a trial one JSON column.

Rows of version 0.1 are kept with every value. That version recorded no region, node autoscaler or nodes, so `nodes`
names the experiment: its rows are pooled inside it and with no others. What a row did not record stays NULL or absent.

The shape of the `trial` column and the keys are written out here, because a migration must give the same result when
the code has moved on. A test holds them against the code of this version.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The variants of version 0.1, whose names stood for the same treatments in every experiment: (treatment, its clouds).
_TREATMENTS = (
    ("fast_download", None),
    ("bake_packages", None),
    ("bottlerocket_snapshot", "eks"),
    ("gke_image_streaming", "gke"),
    ("aks_artifact_streaming", "aks"),
)
_DELIVERY = {"bottlerocket_snapshot", "gke_image_streaming", "aks_artifact_streaming"}
_VARIANTS: Mapping[str, set[str]] = {
    "fast_download": {"fast_download"},
    "baked_image": {"bake_packages"},
    "image_delivery": _DELIVERY,
    "improved": {"fast_download", "bake_packages"} | _DELIVERY,
}
_NAME = sa.String(length=250)
_NEW = ("region", "autoscaler", "nodes", "workload_content", "stratum", "arm")
_FILLED = ("workload_content", "stratum", "arm")
_NULLABLE = ("rayservice", "namespace", "model_id", "model_revision", "model_source")


def upgrade() -> None:
    """Add the columns, fill them from the rows, and only then forbid NULL where every row has a value."""
    connection = op.get_bind()
    if connection.dialect.name == "sqlite" and connection.scalar(sa.text("PRAGMA foreign_keys")):
        raise RuntimeError("Schema 0003 rebuilds llmp_trials, which would delete its phases: open the store instead.")
    with op.batch_alter_table("llmp_trials") as table:
        for name in _NEW:
            table.add_column(sa.Column(name, _NAME, nullable=True))
        table.add_column(sa.Column("trial", sa.JSON(), nullable=True))
        table.alter_column("profile", new_column_name="workload", existing_type=_NAME, existing_nullable=False)
        table.alter_column("seed", type_=sa.BigInteger(), existing_type=sa.Integer(), existing_nullable=False)
        table.alter_column("image", nullable=True, existing_type=sa.Text())
        for name in _NULLABLE:
            table.alter_column(name, nullable=True, existing_type=_NAME)
    _fill(connection)
    with op.batch_alter_table("llmp_trials") as table:
        for name in _FILLED:
            table.alter_column(name, nullable=False, existing_type=_NAME)
        table.alter_column("trial", nullable=False, existing_type=sa.JSON())
    op.create_index(op.f("ix_llmp_trials_arm"), "llmp_trials", ["arm"], unique=False)
    op.create_index(op.f("ix_llmp_trials_stratum"), "llmp_trials", ["stratum"], unique=False)


def downgrade() -> None:
    """Refuse: version 0.1 has no place for what newer rows hold."""
    raise NotImplementedError("A results store of schema 0003 cannot be made one of 0002 without losing values.")


def _fill(connection: sa.Connection) -> None:
    json_columns, instants = ("treatments", "trial"), ("opened_at",)
    kept = (
        *("trial_id", "experiment", "dag_id", "run_id", "target", "cluster", "cloud", "setup", "variant", "workload"),
        *("replicate", "slot", "seed", "rayservice", "namespace", "model_id", "model_revision", "model_source"),
        *("image", "origin"),
    )
    trials = sa.table(
        "llmp_trials",
        *[sa.column(name) for name in (*kept, "nodes", *_FILLED)],
        *[sa.column(name, sa.JSON()) for name in json_columns],
        *[sa.column(name, sa.DateTime(timezone=True)) for name in instants],
    )
    query = sa.select(*[trials.c[name] for name in (*kept, "treatments", *instants)])
    for row in connection.execute(query).mappings().all():
        values = _filled({str(name): value for name, value in row.items()})
        connection.execute(trials.update().where(trials.c.trial_id == row["trial_id"]).values(**values))


def _filled(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the new columns of a row, and NULL where an empty text said that something was not recorded."""
    stratum = {
        "origin": row["origin"],
        "cloud": row["cloud"],
        "setup": row["setup"],
        "workload_content": f"0.1:{row['workload']}",
        "region": None,
        "autoscaler": None,
        "nodes": f"0.1:{row['experiment']}",
        "model_id": row["model_id"] or None,
        "model_revision": row["model_revision"] or None,
    }
    # A trial that was refused recorded no treatments, because it was never opened.
    treatments = row["treatments"] if row["rayservice"] else _resolved(row)
    stratum_key = _fingerprint(stratum, 16)
    arm = {"stratum": stratum_key, "variant": row["variant"], "treatments": sorted(treatments)}
    return {
        **{name: row[name] or None for name in (*_NULLABLE, "image")},
        "nodes": stratum["nodes"],
        "workload_content": stratum["workload_content"],
        "treatments": treatments,
        "stratum": stratum_key,
        "arm": _fingerprint(arm, 16),
        "trial": {
            "trial_id": row["trial_id"],
            "slot": _slot(row),
            "arm": {
                "stratum": stratum | {"workload": row["workload"]},
                "variant": row["variant"],
                "treatments": treatments,
            },
            "target": row["target"],
            "served": {
                "workload": row["workload"],
                "model": None,
                "image": row["image"],
                "recipe": None,
                "overrides": {},
                "model_source": row["model_source"] or None,
            },
            "opened": _opened(row),
        },
    }


def _resolved(row: Mapping[str, Any]) -> list[str]:
    """Return what a variant of version 0.1 stood for on the row's cloud."""
    wanted = _VARIANTS.get(row["variant"], set())
    return [name for name, cloud in _TREATMENTS if name in wanted and cloud in (None, row["cloud"])]


def _slot(row: Mapping[str, Any]) -> dict[str, Any]:
    run = _fingerprint({"dag_id": row["dag_id"], "run_id": row["run_id"]}, 8)
    slot_id = f"{row['experiment']}-{run}-{row['cluster']}-{row['slot']:02d}"
    suffix = row["trial_id"].removeprefix(f"{slot_id}.")
    attempt = int(suffix) if suffix.isdecimal() else 1
    drawn = slot_id if attempt == 1 else f"{slot_id}.{attempt}"
    return {
        "experiment": row["experiment"],
        "dag_id": row["dag_id"],
        "run_id": row["run_id"],
        "cluster": row["cluster"],
        "number": row["slot"],
        "replicate": row["replicate"],
        "seed": row["seed"],
        "attempt": attempt if drawn == row["trial_id"] else 1,
        # A name that does not follow from the slot is kept as it is.
        "fixed_id": None if drawn == row["trial_id"] else row["trial_id"],
    }


def _opened(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a row says of its opening, or None: without a RayService the trial was refused."""
    if not row["rayservice"]:
        return None
    at: datetime = row["opened_at"]
    return {
        "at": (at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)).isoformat(),
        "rayservice": row["rayservice"],
        "namespace": row["namespace"],
        "labels": {},
        "place": f"cluster:{row['cluster']}/{row['namespace']}",
        "manifest_content": None,
        "node_selector": None,
        "prepared": {},
        "completion": None,
        "ledger_entry": None,
    }


def _fingerprint(content: Mapping[str, Any], length: int) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
