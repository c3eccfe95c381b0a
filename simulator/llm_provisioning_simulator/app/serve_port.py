"""Serve's HTTP port: health, routes, and the answers of the model behind them."""

from collections.abc import Callable
from typing import Final

from llm_provisioning_simulator.app.code import CodeHost
from llm_provisioning_simulator.app.costs import Costs
from llm_provisioning_simulator.app.openai import OpenAiServer
from llm_provisioning_simulator.app.ray import RayNode
from llm_provisioning_simulator.app.serve import ServeController
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.faults import Faults
from llm_provisioning_simulator.kube.backend import Answer, PodRequest
from llm_provisioning_simulator.profiles import Profile

_JSON: Final = {"Content-Type": "application/json"}
_TEXT: Final = {"Content-Type": "text/plain; charset=utf-8"}


class ServePort:
    """Answers on the port 8000 of every node with a healthy proxy. `costs` gives each model's server its own draws."""

    def __init__(
        self, clock: SimClock, profile: Profile, faults: Faults, code: CodeHost, costs: Callable[[], Costs]
    ) -> None:
        self._clock, self._profile, self._faults, self._code, self._costs = clock, profile, faults, code, costs
        self._engines: dict[str, OpenAiServer] = {}

    async def answer(self, controller: ServeController | None, node: RayNode, asked: PodRequest) -> Answer:
        """Answer as Serve's proxy does; `controller`: Serve of the node's Ray cluster, if it has one yet."""
        path = asked.path
        routed = controller is not None and controller.has_routes()
        if path == "/-/healthz":
            healthy = routed and proxy_healthy(controller, node)
            return (200, _TEXT, b"success") if healthy else (503, _TEXT, b"Route table is not populated yet.")
        if controller is None or not routed:
            return 404, _TEXT, f"Path '{path}' not found. Ping http://.../-/routes for available routes.".encode()
        if path == "/-/routes":
            routes = ", ".join(f'"{s.application.route_prefix}": "{n}"' for n, s in controller.applications.items())
            return 200, _JSON, f"{{{routes}}}".encode()
        while not controller.running():
            # Serve's proxy holds a request until a replica can take it.
            await self._clock.sleep(0.5)
        return await self._of_the_application(controller, asked)

    async def _of_the_application(self, controller: ServeController, asked: PodRequest) -> Answer:
        state = next(iter(controller.applications.values()))
        engine = state.application.engine
        if engine is None:
            read = asked.method == "GET"
            document = b'{"application": "running"}' if read else b'{"detail": "Not Found"}'
            return (200 if read else 404), _JSON, document
        server = self._engines.get(engine.served)
        if server is None:
            server = self._engines[engine.served] = OpenAiServer(engine.served, self._clock, self._costs())
        started = self._code.engine(state.application.runtime_env.working_dir, engine)
        ratio = {"NONE": "eager_step_ratio", "PIECEWISE": "piecewise_step_ratio"}.get(started.graphs)
        server.step_ratio = self._profile.value(ratio) if ratio else 1.0
        return await server.request(asked.method, asked.path, asked.body, self._faults.completion or None)


def proxy_healthy(controller: ServeController | None, node: RayNode) -> bool:
    """Whether a node's proxy says success: its route table holds an application, and beside the head a replica runs."""
    if controller is None or not node.running or (node.proxy or {}).get("status") != "HEALTHY":
        return False
    return controller.has_routes() if node.head else any(replica.node is node for replica in controller.running())
