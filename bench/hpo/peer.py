"""The optimisers as processes."""
import hashlib
import json
import os
import selectors
import subprocess
from pathlib import Path

from trace import HOME

HERE = Path(__file__).resolve().parent
# name: (environment, file, arguments). In the order in which each round asks them.
PEERS = {
    "random": ("harness", "uniform.py"),
    "optuna-tpe": ("optuna", "with_optuna.py", "tpe"),
    "optuna-gp": ("optuna", "with_optuna.py", "gp"),
    "optuna-cmaes": ("optuna", "with_optuna.py", "cmaes"),
    "ax": ("ax", "with_ax.py"),
    "hebo": ("hebo", "with_hebo.py"),
    "smac": ("smac", "with_smac.py"),
    "skopt": ("skopt", "with_skopt.py"),
    "vizier": ("vizier", "with_vizier.py"),
}
# One core each, whoever it is: what is compared is work, not how many cores it is spread over.
ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
            "PYTHONWARNINGS": "ignore", "CUDA_VISIBLE_DEVICES": ""}


class PeerError(Exception):
    """It died, hung, or answered nonsense."""


def python(environment):
    return HOME / "venv" / environment / "bin" / "python"


def command(name, build=None):
    """What starts a peer; None when it is not here (not installed, not built)."""
    if name == "cusp":
        program = Path(build or "build") / "bench" / "tune_drive"
        return [str(program)] if program.is_file() else None
    environment, file, *more = PEERS[name]
    py = python(environment)
    return [str(py), str(HERE / "peers" / file), *more] if py.exists() else None


class Peer:
    def __init__(self, cmd, log):
        self.log = open(log, "ab")
        self.proc = subprocess.Popen(cmd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                     env={**os.environ, **ONE_CORE}, bufsize=0)
        self.sel = selectors.DefaultSelector()
        self.sel.register(self.proc.stdout, selectors.EVENT_READ)
        self.rest = b""
        self.cmd, self.runs = cmd, 0

    def call(self, message, timeout=600):
        try:
            self.proc.stdin.write(json.dumps(message).encode() + b"\n")
        except OSError as e:
            raise PeerError(f"it ended: {e}") from e
        while b"\n" not in self.rest:
            if not self.sel.select(timeout):
                raise PeerError(f"no answer to {message['op']} in {timeout} s")
            more = os.read(self.proc.stdout.fileno(), 1 << 16)
            if not more:
                raise PeerError(f"it ended at {message['op']}")
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def close(self):
        self.proc.stdin.close()
        try:
            self.proc.wait(5)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        self.proc.stdout.close()
        self.sel.close()
        self.log.close()


class Kept:
    """Processes that serve up to `together` runs, one after another, so that a library's imports are
    paid once. One thread's; a process is never in two runs at a time. One whose run did not end well
    serves no other."""

    def __init__(self, together=1):
        self.together, self.idle = together, {}

    def take(self, cmd, log):
        peer = self.idle.pop(tuple(cmd), None) or Peer(cmd, log)
        peer.runs += 1
        return peer

    def put(self, peer, well):
        if well and peer.runs < self.together:
            self.idle[tuple(peer.cmd)] = peer
        else:
            peer.close()

    def close(self):
        while self.idle:
            self.idle.popitem()[1].close()


def version(name, cmd):
    """As the peer says; cusp's is its program's own hash, for it has no releases."""
    if name == "cusp":
        return hashlib.sha256(Path(cmd[0]).read_bytes()).hexdigest()[:10]
    (HOME / "log").mkdir(parents=True, exist_ok=True)
    peer = Peer(cmd, HOME / "log" / f"{name}.err")
    try:
        return peer.call({"op": "start", "seed": 0, "trials": 2, "parallel": 1, "noise": "unspecified",
                          "metrics": [{"name": "m0", "goal": "minimize"}],
                          "params": [{"name": "x", "type": "double", "lo": 0.0, "hi": 1.0, "scale": "linear"}]})["version"]
    finally:
        peer.close()
