"""Runs what has not been run: run.py [--build DIR] [--peers A,B] [--problems REGEX] [--seeds N].

Breadth first: every peer on every problem with one seed, then the next seed. What is done lies in
the traces, so it may be stopped at any time and goes on where it was."""
import argparse
import os
import re
import sys
import threading
import time

import trace
from episode import episode
from peer import PEERS, Kept, PeerError, command, version
from problems.catalogue import entries


def tasks(peers, wanted, seeds):
    """(entry, seed, peer): problems that lead come a round before the others."""
    for round_ in range(seeds + 1):
        for lead, seed in ((True, round_), (False, round_ - 1)):
            for entry in entries():
                if entry.lead == lead and 0 <= seed < seeds and wanted.search(entry.name):
                    for peer in peers:
                        yield entry, seed, peer


def main():
    p = argparse.ArgumentParser(prog="run.py", description="Runs the optimisers that are installed.")
    p.add_argument("--build", default="build", help="release build with bench/tune_drive")
    p.add_argument("--peers", default="cusp," + ",".join(PEERS))
    p.add_argument("--problems", default=".", metavar="REGEX")
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--together", type=int, default=1, metavar="N",
                   help="runs that a process serves one after another, for imports to be paid once (not cusp's, which has none)")
    p.add_argument("--cap", type=float, default=8.0, help="seconds of processor time a suggestion, on average")
    p.add_argument("--minutes", type=float, default=1e6, help="start nothing after so long")
    p.add_argument("--nice", type=int, default=19)
    args = p.parse_args()
    os.nice(max(0, args.nice - os.nice(0)))
    (trace.HOME / "log").mkdir(parents=True, exist_ok=True)

    known = {}
    for name in args.peers.split(","):
        cmd = command(name, args.build)
        if cmd is None:
            print(f"{name}: not installed (setup.py) or not built", file=sys.stderr)
            continue
        try:
            known[name] = (version(name, cmd), cmd)
        except PeerError as e:
            print(f"{name}: {e}; see {trace.HOME}/log/{name}.err", file=sys.stderr)
    todo = tasks(list(known), re.compile(args.problems), args.seeds)
    lock, stop = threading.Lock(), time.monotonic() + 60 * args.minutes

    def work():
        kept = Kept(args.together)
        try:
            work_with(kept)
        finally:
            kept.close()

    def work_with(kept):
        while time.monotonic() < stop:
            with lock:
                task = next(todo, None)
            if task is None:
                return
            entry, seed, name = task
            v, cmd = known[name]
            if trace.path(name, v, entry.name, seed, entry.budget).exists():
                continue
            began = time.monotonic()
            t = episode(name, v, cmd, entry, seed, args.cap, trace.HOME / "log" / f"{name}.err",
                        None if name == "cusp" else kept)
            trace.save(t)
            spent = sum(x["ask_cpu"] + x["tell_cpu"] for x in t["trials"])
            print(f"{time.strftime('%H:%M:%S')} {entry.name} s{seed} {name}: {t['status']} {t['why']} "
                  f"{time.monotonic() - began:.0f} s, cpu {spent:.1f} s", flush=True)

    workers = [threading.Thread(target=work) for _ in range(args.jobs)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()


if __name__ == "__main__":
    main()
