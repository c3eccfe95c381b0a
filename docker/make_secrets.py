"""Create the secrets that Airflow's services share, once: the Fernet key and the secret of the tokens."""

import base64
import secrets
import sys
from pathlib import Path

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name in ("fernet_key", "jwt_secret"):
        path = folder / name
        if not path.exists():
            # 32 bytes in URL-safe base64: the format of Fernet, and sufficient for the other secret.
            path.write_bytes(base64.urlsafe_b64encode(secrets.token_bytes(32)))
            path.chmod(0o600)
