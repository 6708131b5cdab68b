"""Objects beside nginx (PUT by its dav module, GET by sendfile) and beside plain files: 1 GiB up and down, many small
ones, long lists. cusp answers a write after fsync and a record; nginx after the rename, and its bytes may still be lost."""
import os
import re
import socket
import subprocess
import sys
import time

from call_figures import Peer, turns
from lab import ROOT, Short, better, median, need_program, wrk
from store_figures import lua

SMALL, LISTED, PAGE = 10_000, 100_000, 1000
ROUNDS = 6  # even: who reads first after gigabytes were written pays for the pages, each as often as the other
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
    client_max_body_size 0;
    client_body_in_file_only clean;
    client_body_temp_path body;
    server { listen %s; root %s; dav_methods PUT; }
}
"""
# Every request writes a name of its own; the last four letters of the counter spread over directories.
WRITES = """
local n = 0
wrk.body = string.rep("x", 4096)
wrk.headers["Content-Type"] = "a/b"
request = function()
    n = n + 1
    return wrk.format("%s", string.format("%s", n %% %d))
end
"""
READS = """
local n = 0
request = function()
    n = n + 1
    return wrk.format("GET", string.format("%s", n %% %d))
end
"""


def nginx(lab):
    program = need_program("nginx")
    home = os.path.join(lab.dir, "objects-nginx")
    os.makedirs(os.path.join(home, "www"))
    with socket.socket() as s:  # a port that is free now
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    with open(os.path.join(home, "conf"), "w", encoding="ascii") as f:
        f.write(NGINX % (address, home + "/www"))
    return Peer(program, "-p", home, "-c", "conf", address=address)


def durable_files(lab, n=1000):
    """4 KiB files, each written, made durable and renamed, a second: what one writer gets of the disk."""
    d = os.path.join(lab.dir, "files")
    os.makedirs(d)
    at, block, began = os.open(d, os.O_RDONLY), b"x" * 4096, time.monotonic()
    for i in range(n):
        fd = os.open(f"{d}/t", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, block)
        os.fsync(fd)
        os.close(fd)
        os.rename(f"{d}/t", f"{d}/{i}")
        os.fsync(at)
    return n / (time.monotonic() - began)


def big(lab, table, s, peer):
    src, dst = lab.dir + "/big-src", lab.dir + "/big-dst"
    with open(src, "wb") as f:
        for _ in range(1024):
            f.write(os.urandom(1 << 20))
    client = [sys.executable, os.path.join(ROOT, "bench", "blob_client.py")]
    names = ("big", "big2")  # each is read once: the first reader of an object is the one that waits for the disk
    ways = {"up": [[*client, "put", s.address, "bench", name, src] for name in names],
            "nginx_up": [[*client, "put", peer.address, "-", name, src] for name in names],
            "down": [[*client, "get", s.address, "bench", name, dst] for name in names],
            "nginx_down": [[*client, "get", peer.address, "-", name, dst] for name in names]}
    times = {name: [] for name in ways}
    for turn in range(ROUNDS):
        for name, runs in sorted(ways.items(), key=lambda way: (way[0].endswith("down"), way[0].startswith("nginx") == (turn % 2 == 0))):
            times[name].append(better(lab, runs, dst))
    subprocess.run(["cmp", src, dst], check=True)
    mid = {k: median(v) for k, v in times.items()}
    os.unlink(src)
    os.unlink(dst)
    for ours, what in (("up", "upload 1 GiB, durable, of nginx's (not durable)"), ("down", "download 1 GiB to a file, of nginx's")):
        theirs = "nginx_" + ours
        table.add(what, 100 * mid[theirs] / mid[ours], "%", ">=", 80,
                  f"{1024 / mid[ours]:,.0f} MiB/s beside nginx {1024 / mid[theirs]:,.0f} MiB/s, medians of {ROUNDS} in turns; "
                  f"best {1024 / min(times[ours]):,.0f} and {1024 / min(times[theirs]):,.0f}")


def small(lab, table, s, peer):
    up = "/upload/storage/v1/b/bench/o?uploadType=media&name=s/%d"
    put = lua(lab, "put.lua", WRITES % ("POST", up, SMALL))
    nput = lua(lab, "nput.lua", WRITES % ("PUT", "/s-%d", SMALL))
    ours, theirs = turns(lambda: wrk(s.address, 4, put), lambda: wrk(peer.address, 4, nput))
    table.add("4 KiB objects written, durable, 64 connections", ours, "/s", ">=", 2000,
              f"file + fsync + rename + fsync, one writer {durable_files(lab):,.0f}/s; nginx, not durable {theirs:,.0f}/s")
    for n in range(SMALL):  # those that the three seconds did not reach
        if not os.path.exists(f"{s.dir}/buckets/bench/s/{n}") or not os.path.exists(f"{lab.dir}/objects-nginx/www/s-{n}"):
            for p in (f"{s.dir}/buckets/bench/s/{n}", f"{lab.dir}/objects-nginx/www/s-{n}"):
                with open(p, "wb") as f:
                    f.write(b"x" * 4096)
    get = lua(lab, "get.lua", READS % ("/download/storage/v1/b/bench/o/s%%2F%d?alt=media", SMALL))
    nget = lua(lab, "nget.lua", READS % ("/s-%d", SMALL))
    ours, theirs = turns(lambda: wrk(s.address, 4, get), lambda: wrk(peer.address, 4, nget))
    table.add("4 KiB objects read, 64 connections", ours, "/s", ">=", 10_000, f"nginx, the same files {theirs:,.0f}/s")


def listing(lab, table, s):
    c = s.client()
    d = f"{s.dir}/buckets/lists/l"
    c.call("POST", "/storage/v1/b?project=demo", b'{"name": "lists"}')
    os.makedirs(d)
    for i in range(LISTED):
        os.close(os.open(f"{d}/{i:06}", os.O_WRONLY | os.O_CREAT, 0o600))

    def ours():
        n, token, began = 0, "", time.monotonic()
        while token is not None:
            page = c.call("GET", f"/storage/v1/b/lists/o?maxResults={PAGE}&pageToken={token}")
            n += page.count(b'"storage#object"')
            more = re.search(rb'"nextPageToken": ?"([^"]*)"', page)
            token = more.group(1).decode() if more else None
        if n != LISTED:
            raise Short(f"the list has {n} objects")
        return n / (time.monotonic() - began)

    def theirs():
        began = time.monotonic()
        subprocess.run(["find", d, "-type", "f", "-size", "-1000k", "-printf", "%f %s\\n"], check=True, stdout=subprocess.DEVNULL)
        return LISTED / (time.monotonic() - began)

    rates, finds = turns(ours, theirs)
    table.add("entries of a list of 100,000 objects", rates, "/s", ">=", 100_000, f"find with a stat each {finds:,.0f}/s; pages of {PAGE}")


def objects(lab, table):
    s = lab.server("objects", "--engine=fake")
    s.start()
    s.client().call("POST", "/storage/v1/b?project=demo", b'{"name": "bench"}')
    s.client().call("POST", "/upload/storage/v1/b/bench/o?uploadType=media&name=s/0", b"x" * 4096)
    s.client().call("GET", "/storage/v1/b/bench")
    try:
        peer = nginx(lab)
        try:
            big(lab, table, s, peer)
            small(lab, table, s, peer)
        finally:
            peer.stop()
    except Short as e:
        table.skip("objects beside nginx", str(e))
    listing(lab, table, s)
    s.stop()
