"""The document behind `GET /api/serve/applications/`: what the controller knows, in Serve's own shape (ray 2.60.0).

`controller_health_metrics` changes on every call, as the real one does. Before Serve starts, the answer is 200 and
empty.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from llm_provisioning_simulator.app.ray import RayNode
from llm_provisioning_simulator.app.serve import ApplicationState, DeploymentState, ServeController

EMPTY: Final[Mapping[str, Any]] = {"controller_info": {}, "proxies": {}, "applications": {}, "target_capacity": None}

_DEPLOYMENT_DEFAULTS: Final[Mapping[str, Any]] = {
    "max_ongoing_requests": 5,
    "max_queued_requests": -1,
    "backpressure_config": {"status_code": 503, "retry_after_s": None},
    "user_config": None,
    "graceful_shutdown_wait_loop_s": 2.0,
    "graceful_shutdown_timeout_s": 20.0,
    "health_check_period_s": 10.0,
    "health_check_timeout_s": 30.0,
}
_ROUTER: Final[Mapping[str, Any]] = {
    "request_router_class": "ray.serve._private.request_router:PowerOfTwoChoicesRequestRouter",
    "request_router_kwargs": {},
    "request_routing_stats_period_s": 10.0,
    "request_routing_stats_timeout_s": 30.0,
    "initial_backoff_s": 0.025,
    "backoff_multiplier": 2.0,
    "max_backoff_s": 0.5,
}


def serve_details(controller: ServeController | None, now: datetime) -> dict[str, Any]:
    """Return the whole answer."""
    if controller is None or controller.started_at is None:
        return dict(EMPTY)
    nodes = [controller.head, *controller.cluster.workers()]
    proxied = [node for node in nodes if node.proxy is not None]
    return {
        "controller_info": dict(controller.info),
        "proxy_location": "EveryNode",
        "http_options": {
            "host": "0.0.0.0",  # noqa: S104 - what Serve reports, nothing is bound
            "port": 8000,
            "root_path": "",
            "request_timeout_s": None,
            "keep_alive_timeout_s": 90,
            "ssl_keyfile": None,
            "ssl_certfile": None,
            "ssl_keyfile_password": None,
            "ssl_ca_certs": None,
        },
        "grpc_options": {
            "port": 9000,
            "grpc_servicer_functions": [],
            "request_timeout_s": None,
            "enable_reflection": True,
        },
        "proxies": {node.node_id: dict(node.proxy or {}) for node in proxied},
        "applications": {name: _application(state) for name, state in controller.applications.items()},
        "target_capacity": None,
        "target_groups": [_target_group(proxied)],
        "controller_health_metrics": _health(controller.started_at, now),
        "restores_unset_config_options": True,
    }


def _application(state: ApplicationState) -> dict[str, Any]:
    application, built = state.application, bool(state.deployments)
    return {
        "name": application.name,
        "route_prefix": application.route_prefix if built else None,
        "docs_path": None,
        "status": state.status,
        "message": state.message,
        "last_deployed_time_s": state.deployed_at.timestamp(),
        "deployed_app_config": dict(application.config),
        "source": "declarative",
        "deployments": {name: _deployment(item) for name, item in state.deployments.items()},
        "external_scaler_enabled": False,
        "deployment_topology": _topology(state) if built else None,
    }


def _deployment(item: DeploymentState) -> dict[str, Any]:
    deployment = item.deployment
    options = {f"num_{key.lower()}s": value for key, value in deployment.actor_options.items()}
    return {
        "name": deployment.name,
        "status": item.status,
        "status_trigger": item.trigger,
        "message": item.message,
        "deployment_config": {
            "name": deployment.name,
            "num_replicas": deployment.replicas,
            **_DEPLOYMENT_DEFAULTS,
            "ray_actor_options": options,
            "request_router_config": dict(_ROUTER),
            "rolling_update_percentage": 0.2,
            "max_surge_percent": 0,
        },
        "target_num_replicas": deployment.replicas,
        "required_resources": dict(deployment.actor_options),
        "replicas": [replica.as_dict() for replica in item.replicas],
        "recent_dead_replicas": [replica.as_dict() for replica in item.dead],
    }


def _topology(state: ApplicationState) -> dict[str, Any]:
    name = state.application.name
    ingress = next(item.deployment.name for item in state.deployments.values() if item.deployment.ingress)
    inner = [other for other in state.deployments if other != ingress]
    return {
        "app_name": name,
        "nodes": {
            deployment: {
                "name": deployment,
                "app_name": name,
                "outbound_deployments": [{"name": other, "app_name": name} for other in inner]
                if deployment == ingress
                else [],
                "is_ingress": deployment == ingress,
            }
            for deployment in state.deployments
        },
        "ingress_deployment": ingress,
    }


def _target_group(nodes: list[RayNode]) -> dict[str, Any]:
    healthy = [node for node in nodes if (node.proxy or {}).get("status") == "HEALTHY"]
    return {
        "targets": [
            {
                "ip": node.ip,
                "port": 8000,
                "instance_id": node.pod_name,
                "name": f"SERVE_PROXY_ACTOR-{node.node_id}",
            }
            for node in healthy
        ],
        "route_prefix": "/",
        "protocol": "HTTP",
        "app_name": "",
        "ingress_request_router_targets": [],
        "ingress_deployment_name": "",
    }


def _health(started_at: datetime, now: datetime) -> dict[str, Any]:
    uptime_s = (now - started_at).total_seconds()
    spread = {"mean": 0.003, "std": 0.002, "min": 0.001, "max": 0.05}
    return {
        "timestamp": now.timestamp(),
        "controller_start_time": started_at.timestamp(),
        "uptime_s": uptime_s,
        "last_control_loop_time": now.timestamp(),
        "num_control_loops": 1 + int(uptime_s / 0.11),
        "loop_duration_s": dict(spread),
        "loops_per_second": 9.1,
        "last_sleep_duration_s": 0.1,
        "expected_sleep_duration_s": 0.1,
        "event_loop_delay_s": 0.001,
        "num_asyncio_tasks": 14,
        "handle_ingest_duration_ms": {},
        "replica_ingest_duration_ms": {},
        "metrics_decompress_duration_ms": {},
        "columnar_decode_duration_ms": {},
        "handle_reports_received": 0,
        "replica_reports_received": 0,
        "ingest_reports_received": 0,
        "ingest_cpu_fraction": 0.0,
        "deployment_state_update_duration_s": dict(spread),
        "application_state_update_duration_s": dict(spread),
        "proxy_state_update_duration_s": dict(spread),
        "node_update_duration_s": dict(spread),
        "handle_metrics_delay_ms": {},
        "replica_metrics_delay_ms": {},
        "process_memory_mb": 137.0,
    }
