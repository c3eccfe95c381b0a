"""Run as a program: DAG runs in this process, one after the other, each against a new simulated cluster.

`python dag_runs.py DAGS_FOLDER`; the environment names AIRFLOW_HOME and the DAGs folder. Each line of its input is
{"dag_id", "conf", "there"}, of which `there` is {resource: [objects]} that the cluster has before. Each answer is a
line RESULT and what came of the run. One process serves several tests: starting Airflow takes as long as a whole run.
"""

import json
import os
import sys
from typing import Any

from airflow.utils.db import initdb
from airflow_names import DagBag
from cluster_in_background import ClusterThread, kubernetes_connection


def main(folder: str) -> None:
    """Run what is asked for until the input ends."""
    initdb()
    bag = DagBag(folder)
    for line in sys.stdin:
        found = ran(bag, **json.loads(line)) | {"errors": bag.import_errors}
        sys.stdout.write(f"\nRESULT {json.dumps(found)}\n")
        sys.stdout.flush()


def ran(bag: Any, dag_id: str, conf: dict[str, Any], there: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Run a DAG to its end."""
    with ClusterThread() as cluster:
        os.environ["AIRFLOW_CONN_SIM"] = kubernetes_connection(cluster.url)
        for resource, objects in there.items():
            for item in objects:
                cluster.create(resource, item)
        run = bag.dags[dag_id].test(run_conf=conf)
        tasks = run.get_task_instances()
        left = [resource for resource in ("rayservices", "leases") if cluster.objects(resource, "default")]
        kept = {resource: cluster.names(resource) for resource in there}
    return {
        "run_id": run.run_id,
        "state": str(run.state),
        "states": {task.task_id: str(task.state) for task in tasks},
        "tries": {task.task_id: task.try_number for task in tasks},
        "labels": {task.task_id: task.rendered_map_index for task in tasks},
        "results": [
            (task.task_id, task.xcom_pull(task.task_id, map_indexes=task.map_index))
            for task in sorted(tasks, key=lambda task: task.map_index)
        ],
        "left": left,
        "kept": kept,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
