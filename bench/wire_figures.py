"""New TLS connections beside new clear ones, and what connections cost that say nothing."""
import os
import re
import subprocess

from lab import ROOT, Short

RATE, SECONDS = 1000, 5
IDLE = 10000


def program(lab):
    path = os.path.join(lab.dir, "wire_load")
    subprocess.run(["cc", "-O2", "-o", path, os.path.join(ROOT, "bench", "wire_load.c"), "-lssl", "-lcrypto",
                    "-lpthread"], check=True)
    return path


def tls_server(lab, name):
    s = lab.server(name, "--engine=fake", "--limit", f"max_connections={IDLE + 1000}")
    r = subprocess.run([lab.binary("cusp"), "tls", "init", "--data-dir", s.dir], capture_output=True, text=True,
                       check=False)
    if r.returncode:
        raise Short("cusp tls init: " + r.stderr[-300:])
    s.start()
    return s, s.address.rsplit(":", 1)[1]


def cpu_seconds(server):
    with open(f"/proc/{server.proc.pid}/stat", encoding="ascii") as f:
        user, kernel = f.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(kernel)) / os.sysconf("SC_CLK_TCK")


def rate(load, port, kind, server):
    before = cpu_seconds(server)
    out = subprocess.run([load, "rate", port, kind, str(RATE), str(SECONDS)], capture_output=True, text=True,
                         check=False).stdout
    got = {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", out)}
    if not got or got["failed"]:
        raise Short(f"{kind} connections failed: {out!r}")
    got["cpu"] = (cpu_seconds(server) - before) / got["done"]
    return got


def idle(load, port, server, kind):
    before = server.status("VmRSS")
    p = subprocess.Popen([load, "idle", port, kind, str(IDLE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if p.stdout.readline() != b"held\n":
        raise Short(f"{IDLE:,} {kind} connections could not be opened (descriptors?)")
    after = server.status("VmRSS")
    p.stdin.close()
    p.wait(60)
    return before, after


def wire(lab, table):
    load = program(lab)
    server, port = tls_server(lab, "handshakes")
    rate(load, port, "tls", server)  # warm
    clear, tls = rate(load, port, "clear", server), rate(load, port, "tls", server)
    done = f"{tls['done'] / SECONDS:,.0f}/s"
    table.add("new TLS connection to its reply, p99, 1,000/s", tls["new_p99"] / 1000, "ms", None, None,
              f"clear text {clear['new_p99'] / 1000:.1f} ms; p50 {tls['new_p50'] / 1000:.1f} and "
              f"{clear['new_p50'] / 1000:.1f} ms; done {done}")
    table.add("GET on a kept connection meanwhile, p99", tls["kept_p99"] / 1000, "ms", None, None,
              f"beside new clear connections {clear['kept_p99'] / 1000:.1f} ms; p50 {tls['kept_p50'] / 1000:.2f} and "
              f"{clear['kept_p50'] / 1000:.2f} ms")
    table.add("server's processor time of a new TLS connection", tls["cpu"] * 1e6, "us", None, None,
              f"of a clear one {clear['cpu'] * 1e6:.0f} us, both with one GET")
    server.stop()
    for kind in ("clear", "tls"):
        server, port = tls_server(lab, "idle-" + kind)
        before, after = idle(load, port, server, kind)
        table.add(f"resident with 10,000 idle {kind} connections", after / 1024, "MiB",
                  *(("<=", 120) if kind == "clear" else (None, None)),
                  f"before {before / 1024:.1f} MiB; {(after - before) * 1024 / IDLE:,.0f} bytes each")
        server.stop()
