"""What the package says about the versions that it runs with, and where it depends on one of them."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import compat

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "airflow_llm_provisioning"
# Each exists under this name in Airflow 3.1.8, 3.2.2 and 3.3.2: `make compat` imports them there.
EVERYWHERE = {
    "airflow.configuration": {"conf"},
    "airflow.providers.common.compat.connection": {"get_async_connection"},
    "airflow.sdk": {
        *("Asset", "AssetAlias", "BaseHook", "BaseNotifier", "BaseOperator", "BaseOperatorLink", "Context", "DAG"),
        *("Param", "TaskGroup", "XComArg", "chain", "task"),
    },
    "airflow.secrets.metastore": {"MetastoreBackend"},
    "airflow.triggers.base": {"BaseTrigger", "TriggerEvent"},
}
# Of the page: it is imported by the api-server alone, and each name is looked up there.
OF_THE_PAGE = {"plugin.py", "ui"}
OF_CLOUDS = re.compile(r"airflow\.providers\.(amazon|google|microsoft)\.")


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of each import from Airflow."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "airflow":
            yield from ((node.module or "", alias.name) for alias in node.names)


def test_only_names_of_every_airflow_are_imported() -> None:
    """Another name is missing in one of the releases: it belongs into compat.py, with what stands in for it."""
    wrong = [
        f"{path.relative_to(PACKAGE)}: from {module} import {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "compat.py" and path.relative_to(PACKAGE).parts[0] not in OF_THE_PAGE
        for module, name in imports(path)
        if name not in EVERYWHERE.get(module, ()) and not OF_CLOUDS.match(module)
    ]

    assert wrong == []


def test_operators_derive_from_the_classes_whose_failures_are_final() -> None:
    """Before Airflow 3.3 the base class of compat.py keeps a measured failure from being measured again."""
    for path in (*PACKAGE.glob("operators/*.py"), *PACKAGE.glob("sensors/*.py")):
        taken = {name for module, name in imports(path) if module == "airflow.sdk"}
        assert taken.isdisjoint({"BaseOperator", "BaseSensorOperator"}), path.name


def test_the_claims_are_those_that_are_tried() -> None:
    """Classifiers, the range of Python, Airflow's lower bound and the README's table name what `make compat` tries."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pythons = [item.rpartition(" ")[2] for item in project["classifiers"] if re.search(r"Python :: 3\.\d", item)]
    airflows = [row.name for row in compat.ROWS if not row.lowest]

    assert tuple(pythons) == compat.PYTHONS
    assert project["requires-python"] == f">={pythons[0]},<3.{int(pythons[-1].split('.')[1]) + 1}"
    assert f"apache-airflow>={airflows[0]},<4" in project["dependencies"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in airflows:
        assert re.search(rf"^\| {re.escape(name)} \|", readme, re.MULTILINE), name
