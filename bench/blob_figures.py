"""Upload and download of 1 GiB beside cp on the same file system."""
import os
import subprocess
import sys
import time

from lab import ROOT

MIB = 1024


def transfer(lab, table):
    s = lab.server("blobs", "--engine=fake")
    s.start()
    c = s.client()
    c.call("POST", "/storage/v1/b?project=demo", b'{"name": "bench"}')
    src, dst = lab.dir + "/src", lab.dir + "/copy"
    with open(src, "wb") as f:
        for _ in range(MIB):
            f.write(os.urandom(1 << 20))

    def best(*argv):
        times = []
        for _ in range(3):
            if os.path.exists(dst):
                os.unlink(dst)
            subprocess.run(["sync", "-f", lab.dir], check=True)  # what earlier runs left to write is not this run's
            began = time.monotonic()
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
            times.append(time.monotonic() - began)
        return min(times)
    client = [sys.executable, os.path.join(ROOT, "bench", "blob_client.py")]
    cp = best("cp", "--reflink=never", src, dst)
    cp_sync = best("sh", "-c", f"cp --reflink=never '{src}' '{dst}' && sync '{dst}'")
    up = best(*client, "put", s.address, "bench", "big", src)
    down = best(*client, "get", s.address, "bench", "big", dst)
    s.stop()
    os.unlink(src)
    os.unlink(dst)
    table.add("upload 1 GiB, durable, of cp + fsync", cp_sync / up * 100, "%", ">=", 70,
              f"{MIB / up:,.0f} MiB/s beside cp + fsync {MIB / cp_sync:,.0f} MiB/s")
    table.add("upload 1 GiB, durable, of plain cp", cp / up * 100, "%", None, None, f"cp without fsync {MIB / cp:,.0f} MiB/s")
    table.add("download 1 GiB to a file, of cp", cp / down * 100, "%", ">=", 70,
              f"{MIB / down:,.0f} MiB/s beside cp {MIB / cp:,.0f} MiB/s")
