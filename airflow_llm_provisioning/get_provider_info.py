"""What Airflow learns about this package. A wrong dict here breaks `import airflow` for everybody: a test holds it to
Airflow's own schema and to the distribution's name.
"""

from typing import Any

from airflow_llm_provisioning import __version__


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata (schema: airflow/provider_info.schema.json)."""
    return {
        "package-name": "airflow-llm-provisioning",
        "name": "LLM provisioning",
        "description": "Experiments on how fast an LLM comes up on cloud Kubernetes: deploy, measure, compare.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "KubeRay RayService",
                "external-doc-url": "https://docs.ray.io/en/latest/cluster/kubernetes/getting-started/rayservice-quick-start.html",
                "tags": ["service"],
            }
        ],
        "operators": [
            {
                "integration-name": "KubeRay RayService",
                "python-modules": [
                    "airflow_llm_provisioning.operators.serving_image",
                    "airflow_llm_provisioning.operators.image_snapshot",
                    "airflow_llm_provisioning.operators.image_streaming",
                    "airflow_llm_provisioning.operators.image_warming",
                    "airflow_llm_provisioning.operators.object_preparation",
                    "airflow_llm_provisioning.operators.node_setup",
                    "airflow_llm_provisioning.operators.ray_service",
                    "airflow_llm_provisioning.operators.trial",
                    "airflow_llm_provisioning.operators.experiment",
                    "airflow_llm_provisioning.operators.changes",
                    "airflow_llm_provisioning.operators.reaping",
                ],
            }
        ],
        "sensors": [
            {
                "integration-name": "KubeRay RayService",
                "python-modules": ["airflow_llm_provisioning.sensors.serve_endpoint"],
            }
        ],
        "triggers": [
            {
                "integration-name": "KubeRay RayService",
                "python-modules": ["airflow_llm_provisioning.triggers"],
            }
        ],
        "extra-links": [
            "airflow_llm_provisioning.operators.links.TrialLink",
            "airflow_llm_provisioning.operators.links.RunLink",
            "airflow_llm_provisioning.operators.links.TargetLink",
        ],
        "notifications": ["airflow_llm_provisioning.notifications.ResultNotifier"],
        "config": {
            "llm_provisioning": {
                "description": "Experiments on how fast an LLM comes up on cloud Kubernetes.",
                "options": {
                    "experiment_file": {
                        "description": "YAML file of targets and experiments that the shipped DAGs read.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "/opt/airflow/config/experiment.yaml",
                        "default": "",
                    },
                    "results_conn_id": {
                        "description": "Airflow connection of the results store that the page LLM deployments shows.",
                        "version_added": "0.2.0",
                        "type": "string",
                        "example": "llm_provisioning_results",
                        "default": "llm_provisioning_results",
                    },
                    "preload": {
                        "description": "Let a process that forks tasks import once what this provider's tasks import: "
                        "the scheduler with LocalExecutor, a Celery worker, the DAG processor.",
                        "version_added": "0.2.0",
                        "type": "boolean",
                        "example": "True",
                        "default": "False",
                    },
                    "tune_garbage_collector": {
                        "description": "Let waits make full garbage collections of the triggerer's process rare. For "
                        "a triggerer that runs hundreds of them and no other provider's triggers.",
                        "version_added": "0.2.0",
                        "type": "boolean",
                        "example": "True",
                        "default": "False",
                    },
                    "small_tls_buffers": {
                        "description": "Let TLS connections of the triggerer's process have read buffers of 32 KiB "
                        "instead of asyncio's 256 KiB, which are most of a wait's memory. Connections that read much, "
                        "also of other providers' triggers, need about a fifth more processor time.",
                        "version_added": "0.2.0",
                        "type": "boolean",
                        "example": "True",
                        "default": "False",
                    },
                },
            }
        },
    }
