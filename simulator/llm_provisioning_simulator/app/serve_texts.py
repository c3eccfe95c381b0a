"""What Serve's controller says: messages and tracebacks in the shapes that were recorded (ray 2.60.0)."""

from llm_provisioning_simulator.app.replica import Replica


def label(deployment: str, app: str) -> str:
    """Return how Serve names a deployment."""
    return f"Deployment(name='{deployment}', app='{app}')"


def slow(replica: Replica) -> str:
    """Return the warning about a replica that is late: waiting for a place, or for its constructor."""
    name, app = replica.deployment.name, replica.application.name
    late = f"Deployment '{name}' in application '{app}' has 1 replicas that have taken more than 30s to be "
    if replica.node is not None:
        return f"{late.removesuffix('be ')}initialize.\nThis may be caused by a slow __init__ or reconfigure method."
    needed = ", ".join(f'"{key}": {value}' for key, value in replica.deployment.actor_options.items())
    return (
        f"{late}scheduled. This may be due to waiting for the cluster to auto-scale or for a runtime environment to be "
        f"installed. Resources required for each replica: {{{needed}}}, total resources available: {{}}. "
        "Use `ray status` for more details."
    )


def retrying(left: int, error: str) -> str:
    """Return a deployment's message after a constructor raised."""
    return f"A replica failed to start with exception. Retrying {left} more time(s). Error:\n{error}"


def given_up(times: int, error: str) -> str:
    """Return a deployment's message once it is not tried again."""
    return (
        f"The deployment failed to start {times} times in a row. This may be due to a problem with its constructor or "
        f"initial health check failing. See controller logs for details. Error:\n{error}"
    )


def replica_traceback(replica: Replica, error: str) -> str:
    """Return Ray's error of a replica whose constructor raised, colour codes included (recording llm-replica-crash)."""
    actor = f"ServeReplica:{replica.application.name}:{replica.deployment.name}"
    ip = replica.node.ip if replica.node else ""
    where = "ray/serve/_private/replica.py"
    return (
        f"\x1b[36mray::{actor}.initialize_and_get_metadata()\x1b[39m (pid={replica.pid}, ip={ip}, "
        f"actor_id={replica.actor_id}, repr=<ray.serve._private.replica.{actor} object at 0x7f445ed09490>)\n"
        f'  File "{where}", line 3521, in initialize_and_get_metadata\n'
        "    await self._replica_impl.initialize(deployment_config, rank, gang_context)\n"
        f'  File "{where}", line 1928, in initialize\n'
        "    raise RuntimeError(traceback.format_exc()) from None\n"
        "RuntimeError: Traceback (most recent call last):\n"
        f'  File "{where}", line 1867, in initialize\n'
        "    await self._user_callable_wrapper.initialize_callable()\n"
        f"{error}"
    )


def actor_died(replica: Replica) -> str:
    """Return Ray's error of an actor whose process ended, with its raylet, while it started."""
    name = f"ServeReplica:{replica.application.name}:{replica.deployment.name}"
    return (
        "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.\n"
        f"\tclass_name: {name}\n\tactor_id: {replica.actor_id}\n\tpid: {replica.pid}\n"
        "The actor died because its node has died. Node Id: "
        f"{replica.reserved.node_id if replica.reserved else ''}\n"
        "\tthe actor's node was terminated unexpectedly: health check failed due to missing too many heartbeats"
    )


def build_traceback(import_path: str, error: str, pid: int, ip: str) -> str:
    """Return what Serve reports for a failed build, colour codes included."""
    module = import_path.partition(":")[0].replace(".", "/")
    return (
        "Traceback (most recent call last):\n"
        '  File "ray/serve/_private/application_state.py", line 926, in _reconcile_build_app_task\n'
        "ray.exceptions.RayTaskError(RuntimeError): "
        f"\x1b[36mray::build_serve_application()\x1b[39m (pid={pid}, ip={ip})\n"
        '  File "ray/serve/_private/application_state.py", line 1843, in build_serve_application\n'
        "    raise RuntimeError(err_str) from None\n"
        "RuntimeError: Traceback (most recent call last):\n"
        '  File "ray/_common/utils.py", line 90, in import_module_and_attr\n'
        "    module = importlib.import_module(module_name)\n"
        f'  File "{module}.py", line 1, in <module>\n'
        f"{error}\n"
    )
