"""The outside world: clusters, clouds, node autoscalers, the model hub, the results store and the ledger.

Importing this package keeps the INFO lines of the libraries that it uses out of the logs of tasks and commands.
"""

from airflow_llm_provisioning.gateways.library_logs import keep_requests_out

keep_requests_out()
