"""Run as a program: one DAG run in this process against a simulated cluster; prints RESULT and what came of it.

`python one_dag_run.py DAGS_FOLDER DAG_ID [CONF]`; the environment names AIRFLOW_HOME and the DAGs folder.
"""

import json
import os
import sys

from airflow.dag_processing.dagbag import DagBag
from airflow.utils.db import initdb
from cluster_in_background import ClusterThread, kubernetes_connection


def main(folder: str, dag_id: str, conf: str = "{}") -> None:
    """Run the DAG to its end."""
    initdb()
    with ClusterThread() as cluster:
        os.environ["AIRFLOW_CONN_SIM"] = kubernetes_connection(cluster.url)
        bag = DagBag(folder)
        dag = bag.dags[dag_id]
        run = dag.test(run_conf=json.loads(conf))
        states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
        left = [resource for resource in ("rayservices", "leases") if cluster.objects(resource, "default")]
    sys.stdout.write(
        "RESULT " + json.dumps({"errors": bag.import_errors, "state": str(run.state), "states": states, "left": left})
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
