"""Run as a program: one DAG run in this process against a simulated cluster; prints RESULT and what came of it.

`python one_dag_run.py DAGS_FOLDER DAG_ID [CONF]`; the environment names AIRFLOW_HOME and the DAGs folder.
"""

import json
import os
import sys

from airflow.utils.db import initdb
from airflow_names import DagBag
from cluster_in_background import ClusterThread, kubernetes_connection


def main(folder: str, dag_id: str, conf: str = "{}") -> None:
    """Run the DAG to its end."""
    initdb()
    with ClusterThread() as cluster:
        os.environ["AIRFLOW_CONN_SIM"] = kubernetes_connection(cluster.url)
        bag = DagBag(folder)
        dag = bag.dags[dag_id]
        run = dag.test(run_conf=json.loads(conf))
        tasks = run.get_task_instances()
        left = [resource for resource in ("rayservices", "leases") if cluster.objects(resource, "default")]
    found = {
        "errors": bag.import_errors,
        "state": str(run.state),
        "states": {task.task_id: str(task.state) for task in tasks},
        "tries": {task.task_id: task.try_number for task in tasks},
        "left": left,
    }
    sys.stdout.write(f"RESULT {json.dumps(found)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
