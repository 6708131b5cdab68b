"""Small files below /gcs beside the same file system without it: an archive unpacked, a repository cloned. /gcs is a bind mount of
DATA_DIR/buckets, made here as the engine makes it; what was written must be objects of the API."""
import json
import os
import resource
import shutil
import subprocess
import time

from lab import Short, median, need_program, need_root

ROUNDS, DIRS, FILES = 6, 20, 100  # 2,000 files of 1 to 8 KiB: a source tree


def tree(root):
    for d in range(DIRS):
        os.makedirs(f"{root}/d{d}")
        for f in range(FILES):
            with open(f"{root}/d{d}/f{f}", "wb") as out:
                out.write(os.urandom(1024 + (d * FILES + f) % 7 * 1024))


def git(*args):
    subprocess.run([need_program("git"), "-c", "user.name=bench", "-c", "user.email=bench@localhost", *args], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def processor():
    """Seconds that the programs run so far have had of a processor: what other work on the machine hardly changes."""
    r = resource.getrusage(resource.RUSAGE_CHILDREN)
    return r.ru_utime + r.ru_stime


def gcs(lab, table):
    need_root()
    src, repo, tar = lab.dir + "/tree", lab.dir + "/repo", lab.dir + "/tree.tar"
    tree(src)
    subprocess.run(["tar", "-cf", tar, "-C", src, "."], check=True)
    shutil.copytree(src, repo)
    git("init", "-q", repo)
    git("-C", repo, "add", ".")
    git("-C", repo, "commit", "-q", "-m", "tree")
    s = lab.server("gcs", "--engine=fake")
    s.start()
    c = s.client()
    c.call("POST", "/storage/v1/b?project=demo", b'{"name": "bench"}')
    native, mount = lab.dir + "/native", lab.dir + "/mnt"
    os.makedirs(native)
    os.makedirs(mount)
    subprocess.run(["mount", "--bind", s.dir + "/buckets", mount], check=True)
    try:
        works = {"untar": lambda to: subprocess.run(["tar", "-xf", tar, "-C", to], check=True),
                 "git clone": lambda to: git("clone", "-q", "--no-local", repo, to)}
        for what, work in works.items():
            times = {native: [], mount + "/bench": []}
            busy = {native: [], mount + "/bench": []}
            for i in range(ROUNDS):
                for at in sorted(times, reverse=i % 2 == 0):  # each is first in turn
                    to = at + "/w"
                    os.makedirs(to)
                    subprocess.run(["sync", "-f", lab.dir], check=True)
                    had, began = processor(), time.monotonic()
                    work(to)
                    times[at].append(time.monotonic() - began)
                    busy[at].append(processor() - had)
                    if at != native and i == 0:
                        page = json.loads(s.client().call("GET", "/storage/v1/b/bench/o?prefix=w/d7/&maxResults=1000"))
                        if len(page["items"]) != FILES:
                            raise Short(f"the bucket has {len(page['items'])} objects there, not {FILES}")
                    shutil.rmtree(to)
            for name, took, target in (("time", times, 1.1), ("processor time", busy, None)):
                ours, theirs = took[mount + "/bench"], took[native]
                # Of two neighbouring turns each: what else the machine does meets both.
                ratio = median([a / b for a, b in zip(ours, theirs)])
                table.add(f"{what} of {DIRS * FILES:,} files below /gcs, {name} of the native file system's", ratio, "x", target and "<=", target,
                          f"{median(ours) * 1000:,.0f} ms beside {median(theirs) * 1000:,.0f} ms")
    finally:
        subprocess.run(["umount", mount], check=True)
    s.stop()
