"""The only reader of Airflow connections. Extras are read by name; none is ever spread into a call.

Each function opens one gateway: the official provider's hook gives the credentials, the gateway gets objects and never sees
a connection. Cloud SDKs and hooks are imported inside the functions, so that a missing extra hurts only who needs it.
"""
