"""Traces: what one optimiser did on one problem with one seed, kept so that a run is never made
twice. CUSP_HPO_DIR: where environments, traces and data lie (default ~/.cache/cusp/hpo)."""
import json
import os
from pathlib import Path

HOME = Path(os.environ.get("CUSP_HPO_DIR", Path.home() / ".cache/cusp/hpo"))


def path(peer, version, problem, seed, budget):
    return HOME / "traces" / peer / version / f"{problem}-s{seed}-b{budget}.json"


def save(trace):
    """trace: {peer, version, problem, family, seed, budget, parallel, status, why, start_cpu, place,
    trials}. place: which run of its process it was, from 1. status: done, slow (stopped, too much time a suggestion), unsupported, error. trials
    in the order they ended: {setting, told, true, ask_cpu, ask_wall, tell_cpu, tell_wall, pending,
    ended}."""
    p = path(trace["peer"], trace["version"], trace["problem"], trace["seed"], trace["budget"])
    p.parent.mkdir(parents=True, exist_ok=True)
    tmp = p.with_suffix(f".{os.getpid()}.tmp")
    tmp.write_text(json.dumps(trace))
    tmp.replace(p)


def load_all(versions=None):
    """Every trace; of a peer with several versions the one in `versions`, else the newest."""
    out = []
    root = HOME / "traces"
    for peer in sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []:
        kept = [v for v in peer.iterdir() if v.is_dir()]
        wanted = (versions or {}).get(peer.name)
        if wanted is None:
            wanted = max(kept, key=lambda v: max((f.stat().st_mtime for f in v.iterdir()), default=0)).name if kept else None
        for f in sorted((peer / wanted).glob("*.json")) if wanted else []:
            out.append(json.loads(f.read_text()))
    return out
