"""Upload and download of 1 GiB beside cp on the same file system."""
import os
import subprocess
import sys
import time

from lab import ROOT, level, median

MIB = 1024
ROUNDS = 5


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
    ways = {"cp": ["cp", "--reflink=never", src, dst],
            "cp_sync": ["sh", "-c", f"cp --reflink=never '{src}' '{dst}' && sync '{dst}'"],
            "up": [*client, "put", s.address, "bench", "big", src],
            "down": [*client, "get", s.address, "bench", "big", dst]}
    times = {name: [] for name in ways}
    for turn in range(ROUNDS):  # in turns, so that what else the machine does meets all of them
        for name, argv in list(ways.items())[::-1 if turn % 2 else 1]:  # who follows a large file's end finds its pages
            if os.path.exists(dst):
                os.unlink(dst)
            level(lab, 5 << 28)
            began = time.monotonic()
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.monotonic() - began)
    cp, cp_sync, up, down = (median(times[name]) for name in ("cp", "cp_sync", "up", "down"))
    subprocess.run(["cmp", src, dst], check=True)
    s.stop()
    os.unlink(src)
    os.unlink(dst)
    table.add("upload 1 GiB, durable, of cp + fsync", cp_sync / up * 100, "%", ">=", 70,
              f"{MIB / up:,.0f} MiB/s beside cp + fsync {MIB / cp_sync:,.0f} MiB/s")
    table.add("upload 1 GiB, durable, of plain cp", cp / up * 100, "%", None, None, f"cp without fsync {MIB / cp:,.0f} MiB/s")
    table.add("download 1 GiB to a file, of cp", cp / down * 100, "%", ">=", 70,
              f"{MIB / down:,.0f} MiB/s beside cp {MIB / cp:,.0f} MiB/s")
