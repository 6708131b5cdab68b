"""What a request costs on the wire beside its peers: REST beside nginx, gRPC beside grpcio and Go. Peers and cusp take
turns under the same load, so that what else the machine does meets them alike."""
import json
import os
import re
import socket
import struct
import subprocess

from lab import JOBS, PARENT, ROOT, Short, job_body, median, need_program, wrk
from store_figures import fsyncs, lua

TURNS, SECONDS, CONNECTIONS = 3, 3, 64
SERVICE = "/google.cloud.aiplatform.v1.JobService/"
GRPCIO = "grpcio==1.85.1"


# ---- gRPC without a library: frames and the two messages that are needed

def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def frame(message):
    return struct.pack(">BI", 0, len(message)) + message


def write(lab, name, data):
    path = os.path.join(lab.dir, name)
    with open(path, "wb") as f:
        f.write(data)
    return path


HEADERS = ("-H", "content-type: application/grpc", "-H", "te: trailers")


def call(lab, address, method, body):
    """One call by curl: the answer's message; its status must be OK."""
    out, head = os.path.join(lab.dir, "answer"), os.path.join(lab.dir, "headers")
    subprocess.run(["curl", "-sS", "--http2-prior-knowledge", *HEADERS, "--data-binary", "@" + body, "-o", out, "-D", head,
                    f"http://{address}{SERVICE}{method}"], check=True)
    with open(head, encoding="ascii") as f:
        if not re.search(r"^grpc-status: 0\s*$", f.read(), re.M | re.I):
            raise Short(f"{method} was refused")
    with open(out, "rb") as f:
        return f.read()[5:]


def h2load(address, method, body, streams):
    """Calls a second over CONNECTIONS connections with so many at once in each; fails when one does not end."""
    out = subprocess.run([need_program("h2load"), "-t1", f"-c{CONNECTIONS}", f"-m{streams}", f"-D{SECONDS}", "--warm-up-time=1",
                          "-d", body, *HEADERS, f"http://{address}{SERVICE}{method}"],
                         capture_output=True, text=True, check=True).stdout
    if not re.search(r"\b0 failed, 0 errored, 0 timeout", out) or not re.search(r" 0 3xx, 0 4xx, 0 5xx", out):
        raise Short("h2load: " + out[-600:])
    return float(re.search(r"([\d.]+) req/s", out).group(1))


# ---- a job of 1.5 KB

def big_job():
    """As JSON answer about 1.5 KB, as a job of a real training is."""
    job = json.loads(job_body("/bin/true", name="figures-resnet50-imagenet"))
    container = job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]
    container["args"] = [f"--{k}={v}" for k, v in (("epochs", 90), ("batch-size", 256), ("learning-rate", 0.1),
                         ("momentum", 0.9), ("weight-decay", "1e-4"), ("train-data", "/gcs/imagenet/train"),
                         ("eval-data", "/gcs/imagenet/validation"), ("seed", 1234))]
    container["env"] = [{"name": n, "value": v} for n, v in (("NCCL_DEBUG", "WARN"), ("OMP_NUM_THREADS", "4"),
                                                             ("TORCH_HOME", "/gcs/imagenet/cache"))]
    job["labels"] = {"team": "vision", "model": "resnet50", "data": "imagenet", "budget": "quarter-4", "owner": "research"}
    return json.dumps(job).encode()


# ---- the peers

class Peer:
    """A server of another make; it says its address on its first line unless that is known."""

    def __init__(self, *argv, address=None):
        self.proc = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.address = address or self.proc.stdout.readline().strip()
        if not self.address:
            raise Short(f"{argv[0]} did not start")

    def stop(self):
        self.proc.terminate()
        self.proc.wait(20)


def processor(pid):
    """Seconds of processor time that a process and its children have used so far."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        children = f.read().split()
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        ticks = sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK") + sum(map(processor, children))


NGINX = """user root;
daemon off;
worker_processes auto;
pid pid;
error_log error.log;
events { worker_connections 1024; }
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    default_type application/json;
    server { listen %s; root %s; }
}
"""


def nginx(lab, data):
    """nginx as Debian configures it, but that it logs no request and a connection may stay."""
    program = need_program("nginx")
    home = os.path.join(lab.dir, "nginx")
    os.makedirs(home)
    with socket.socket() as s:  # a port that is free now
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    write(lab, "nginx/job.json", data)
    write(lab, "nginx/conf", (NGINX % (address, home)).encode())
    return Peer(program, "-p", home, "-c", "conf", address=address)


def go_peer(lab, job):
    need_program("go")
    program = os.path.join(lab.dir, "grpc_peer")
    env = {**os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false"}
    built = subprocess.run(["go", "build", "-o", program, "."], cwd=os.path.join(ROOT, "bench", "grpc_peer"), env=env,
                           capture_output=True, text=True, check=False)
    if built.returncode:
        raise Short("the Go peer does not build: " + built.stderr[-300:])
    return Peer(program, job)


def python_peer(lab, job):
    """grpcio lives in a virtual environment beside the bench folders; it stays for the next run."""
    venv = os.path.join(os.path.dirname(lab.dir), "grpcio")
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(os.path.join(venv, GRPCIO)):
        for argv in (["python3", "-m", "venv", venv], [python, "-m", "pip", "install", "-q", GRPCIO]):
            if subprocess.run(argv, capture_output=True, check=False).returncode:
                raise Short(f"{GRPCIO} cannot be installed")
        write(lab, os.path.join(venv, GRPCIO), b"")
    return Peer(python, os.path.join(ROOT, "bench", "grpc_peer", "server.py"), job)


# ---- the figures

def turns(*measures):
    """Every measure TURNS times, one after the other; their medians."""
    taken = [[] for _ in measures]
    for _ in range(TURNS):
        for values, measure in zip(taken, measures):
            values.append(measure())
    return [median(v) for v in taken]


def rest(lab, table):
    s = lab.server("rest", "--engine=fake", "--hold")
    s.start()
    c = s.client()
    path = "/v1/" + c.json("POST", JOBS, big_job())["name"]
    data = c.call("GET", path)
    peer = nginx(lab, data)
    used = {s.proc.pid: [], peer.proc.pid: []}  # microseconds of the server's processor time a request

    def measure(proc, address, path):
        before = processor(proc.pid)
        rate = wrk(address, SECONDS, None, path)
        used[proc.pid].append(1e6 * (processor(proc.pid) - before) / (rate * SECONDS))
        return rate

    try:
        ours, theirs = turns(lambda: measure(s.proc, s.address, path), lambda: measure(peer.proc, peer.address, "/job.json"))
    finally:
        peer.stop()
    mine, nginxs = (median(used[p.proc.pid]) for p in (s, peer))
    s.stop()
    table.add(f"GET of a job of {len(data):,} bytes, of nginx", 100 * ours / theirs, "%", ">=", 50,
              f"{ours:,.0f}/s beside nginx with a static file {theirs:,.0f}/s; processor {mine:.1f} beside {nginxs:.1f} us each")


def grpc(lab, table):
    """GetCustomJob over gRPC beside the same method of a Go and of a Python server, then durable creates."""
    need_program("h2load")
    s = lab.server("grpc", "--engine=fake", "--hold")
    s.start()
    name = s.client().json("POST", JOBS, big_job())["name"].encode()
    body = write(lab, "get", frame(field(1, name)))
    job = write(lab, "job", call(lab, s.address, "GetCustomJob", body))
    peers = []
    for make, what, target in ((go_peer, "a Go server", 100), (python_peer, GRPCIO.replace("==", " "), 300)):
        try:
            peers.append((make(lab, job), what, target))
        except Short as e:
            table.skip(f"gRPC GetCustomJob beside {what}", str(e))
    try:
        for streams in (1, 10):
            at = [s.address] + [p.address for p, _, _ in peers]
            ours, *theirs = turns(*(lambda a=a: h2load(a, "GetCustomJob", body, streams) for a in at))
            for (_, what, target), rate in zip(peers, theirs):
                table.add(f"gRPC GetCustomJob, {streams} at once a connection, of {what}", 100 * ours / rate, "%", ">=", target,
                          f"{ours:,.0f}/s beside {rate:,.0f}/s")
    finally:
        for p, _, _ in peers:
            p.stop()
    s.stop()
    creates(lab, table)


def stored(client, measure):
    """A rate of creates, of which every one must have been stored."""
    before = client.metric("store_commits_total")
    rate = measure()
    if client.metric("store_commits_total") - before < rate * SECONDS:
        raise Short("not every create was stored")
    return rate


def creates(lab, table):
    """Over gRPC and over REST in turns, each time with a fresh server."""
    def over(prefix, measure):
        counter = iter(range(TURNS))

        def once():
            s = lab.server(f"{prefix}{next(counter)}", "--engine=fake", "--hold")
            s.start()
            c = s.client()
            rate = measure(s, c)
            s.stop()
            return rate
        return once

    def by_grpc(s, c):
        name = c.json("POST", JOBS, job_body("/bin/true"))["name"].encode()
        job = call(lab, s.address, "GetCustomJob", write(lab, "get", frame(field(1, name))))
        body = write(lab, "create", frame(field(1, PARENT.encode()) + field(2, job)))
        call(lab, s.address, "CreateCustomJob", body)
        return stored(c, lambda: h2load(s.address, "CreateCustomJob", body, 1))

    def by_rest(s, c):
        return stored(c, lambda: wrk(s.address, SECONDS, post, JOBS))

    post = lua(lab, "post.lua", 'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
               f"wrk.body = [[{job_body('/bin/true').decode()}]]\n")
    ours, rest_rate = turns(over("grpc-creates", by_grpc), over("rest-creates", by_rest))
    table.add("durable creates over gRPC, 64 connections", ours, "/s", ">=", 5000, f"over REST {rest_rate:,.0f}/s; 4 KiB append + fdatasync {fsyncs(lab):,}/s")
