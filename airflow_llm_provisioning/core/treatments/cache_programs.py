"""The two programs of `compile_cache`: the Job's, which fills a cache, and the pods', which unpack it.

Both are run by the serving image's Python and use nothing but its standard library, Ray's command line and Serve's REST
interface (`PUT` and `DELETE /api/serve/applications/`, ray 2.9 to 2.60: what KubeRay itself calls).
"""

from typing import Final

# Starts the very applications until the engine finds its graphs: torch 2.10 cannot load what it saved at its first
# start and saves it again (pytorch PR 173556). An engine that never finds its own graphs will find them nowhere. The
# dashboard boots after `ray start` has returned, and the next engine needs the GPU's memory, which the last one frees
# when its processes have ended.
FILL: Final = r"""
import hashlib, importlib.metadata, json, os, pathlib, re, subprocess, sys, tarfile, time, urllib.error, urllib.request
config, archive, root = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
URL, LOGS = "http://127.0.0.1:8265/api/serve/applications/", pathlib.Path("/tmp/ray/session_latest/logs")
FOUND = re.compile("Directly load (?:the compiled graph|AOT compilation)")
ANEW = re.compile("Compiling a graph for|saved AOT compiled function to|Cannot load aot compilation from path"
                  "|Compiling model again due to a load failure|torch.compile cache is disabled")
os.environ.pop("RAY_LOG_TO_STDERR", None)
def ask(method, body=None):
    sent = urllib.request.Request(URL, body, {"Content-Type": "application/json"}, method=method)
    for left in reversed(range(90)):
        try:
            with urllib.request.urlopen(sent, timeout=120) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            if error.code < 500 or not left:
                sys.exit("Serve answered %s with %s: %s" % (method, error.code, error.read()[:500]))
        except OSError:
            if not left:
                raise
        time.sleep(2)
def engines():
    found = set()
    for place in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes()
        except OSError:
            continue
        if re.search(b"ray::ServeReplica|VLLM::|RayWorkerWrapper|multiprocessing.spawn", words):
            found.add(place.parent.name)
    return found
def start():
    before, others = set(LOGS.glob("worker-*")), engines()
    ask("PUT", config.encode())
    while True:
        told = json.loads(ask("GET"))["applications"]
        states = [item["status"] for item in told.values()]
        if states and set(states) == {"RUNNING"}:
            break
        if {"DEPLOY_FAILED", "UNHEALTHY"} & set(states):
            sys.exit("The application did not start: " + "; ".join(item["message"] for item in told.values()))
        time.sleep(2)
    new = sorted(set(LOGS.glob("worker-*")) - before)
    lines = [line for file in new for line in file.read_text(errors="replace").splitlines()]
    ask("DELETE")
    for _ in range(60):
        if not engines() - others:
            break
        time.sleep(2)
    return lines
subprocess.run(["ray", "start", "--head", "--dashboard-host=127.0.0.1", "--disable-usage-stats"], check=True)
for starts in range(1, 5):
    lines = start()
    anew = [line for line in lines if ANEW.search(line)]
    if any(map(FOUND.search, lines)) and not anew:
        break
else:
    sys.exit("The engine did not find its own compiled graphs in %d starts: %s" % (starts, (anew or ["no line"])[-1]))
parts = [root / name for name in ("torch_compile_cache", "torch_aot_compile") if (root / name).is_dir()]
keys = sorted({found.name for part in parts for found in (*part.iterdir(), *part.glob("torch_aot_compile/*"))
               if re.fullmatch("[0-9a-f]{6,64}", found.name)})
archive.parent.mkdir(parents=True, exist_ok=True)
part = archive.with_suffix(".part")
with tarfile.open(part, "w") as tar:
    for found in parts:
        tar.add(found, found.name)
os.replace(part, archive)
digest, size = hashlib.sha256(), 0
with archive.open("rb") as file:
    while chunk := file.read(1 << 24):
        digest.update(chunk)
        size += len(chunk)
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
def gpu():
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None
engine = re.search(r"LLM engine \(v([^)\s]+)\)", "\n".join(lines))
told = {"digest": "sha256:" + digest.hexdigest(), "bytes": size, "keys": keys, "starts": starts, "gpu": gpu(),
        "vllm": engine.group(1) if engine else version("vllm"), "torch": version("torch")}
print("LLM-PREPARED " + json.dumps({archive.parent.name: told}), flush=True)
""".strip()
# An archive that is not there must not keep the service from starting: the engine compiles, and the verdict says so.
UNPACK: Final = r"""
import hashlib, json, pathlib, sys, tarfile
archive, root = sys.argv[1:3]
class Hashed:
    def __init__(self, file):
        self.file, self.digest, self.size = file, hashlib.sha256(), 0
    def read(self, size=-1):
        chunk = self.file.read(size)
        self.digest.update(chunk)
        self.size += len(chunk)
        return chunk
how = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
try:
    with open(archive, "rb") as file:
        hashed = Hashed(file)
        with tarfile.open(fileobj=hashed, mode="r|") as tar:
            tar.extractall(root, **how)
        while hashed.read(1 << 24):
            pass
    told = {"digest": "sha256:" + hashed.digest.hexdigest(), "bytes": hashed.size}
except (OSError, tarfile.TarError) as error:
    told = {"error": f"{type(error).__name__}: {error}"[:300]}
print(json.dumps(told), flush=True)
pathlib.Path("/dev/termination-log").write_text(json.dumps(told))
""".strip()
