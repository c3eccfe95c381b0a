"""The outside world: clusters, clouds, node autoscalers, the model hub, the results store and the ledger."""
