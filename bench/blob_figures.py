"""Upload and download of 1 GiB beside cp on the same file system."""
import os
import subprocess
import sys

from lab import ROOT, better, median

MIB = 1024
ROUNDS = 6  # even: each is first as often as the others


def transfer(lab, table):
    s = lab.server("blobs", "--engine=fake")
    s.start()
    c = s.client()
    c.call("POST", "/storage/v1/b?project=demo", b'{"name": "bench"}')
    src, dst = lab.dir + "/src", lab.dir + "/copy"
    with open(src, "wb") as f:
        for _ in range(MIB):
            f.write(os.urandom(1 << 20))

    client = [sys.executable, os.path.join(ROOT, "bench", "blob_client.py")]
    names = ("big", "big2")  # each is read once: the first reader of an object is the one that waits for the disk
    ways = {"cp": 2 * [["cp", "--reflink=never", src, dst]],
            "cp_sync": 2 * [["sh", "-c", f"cp --reflink=never '{src}' '{dst}' && sync '{dst}'"]],
            "up": [[*client, "put", s.address, "bench", name, src] for name in names],
            "down": [[*client, "get", s.address, "bench", name, dst] for name in names]}
    times = {name: [] for name in ways}
    for turn in range(ROUNDS):  # in turns, so that what else the machine does meets all of them
        ours_first = turn % 2  # who reads first after a gigabyte was written pays for the pages
        for name in ("up", "down", "cp", "cp_sync") if ours_first else ("cp", "cp_sync", "up", "down"):
            times[name].append(better(lab, ways[name], dst))
    cp, cp_sync, up, down = (median(times[name]) for name in ("cp", "cp_sync", "up", "down"))
    subprocess.run(["cmp", src, dst], check=True)
    s.stop()
    os.unlink(src)
    os.unlink(dst)
    table.add("upload 1 GiB, durable, of cp + fsync", cp_sync / up * 100, "%", ">=", 70,
              f"{MIB / up:,.0f} MiB/s beside cp + fsync {MIB / cp_sync:,.0f} MiB/s")
    table.add("upload 1 GiB, durable, of plain cp", cp / up * 100, "%", ">=", 70, f"cp without fsync {MIB / cp:,.0f} MiB/s")
    table.add("download 1 GiB to a file, of cp", cp / down * 100, "%", ">=", 70,
              f"{MIB / down:,.0f} MiB/s beside cp {MIB / cp:,.0f} MiB/s")
