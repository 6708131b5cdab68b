"""docs/hpo.md and its plots from the traces: report.py [--out docs] [--cusp VERSION]."""
import argparse
import functools
import math
import statistics
from pathlib import Path

import numpy as np

import scores
import trace
from plot import lines
from problems.catalogue import entries


@functools.lru_cache(maxsize=None)
def made(name, seed):
    return next(e for e in entries() if e.name == name).make(seed)


class Scale:
    """What regret 0 and score 1 and 0 mean for a problem and seed."""

    def __init__(self, traces):
        self.found = {}
        for t in traces:
            if t["trials"]:
                low = min(x["true"][0] for x in t["trials"] if x["true"])
                self.found[t["problem"]] = min(low, self.found.get(t["problem"], math.inf))

    @functools.lru_cache(maxsize=None)
    def of(self, name, seed):
        p = made(name, seed)
        if p.reference is not None:
            return p.best, p.best, p.best * 1e-3, p.reference
        best = p.best if p.best is not None else self.found[name]
        typical = p.typical(40 if p.best is None else 400) - best
        return best, typical, p.resolution or 1e-6 * typical, None


def curves(traces):
    """{(problem, seed): {peer: score after each trial}} of what was played to the end."""
    scale, out = Scale(traces), {}
    for t in traces:
        if t["status"] == "done" and len(t["trials"]) == t["budget"]:
            best, typical, resolution, reference = scale.of(t["problem"], t["seed"])
            out.setdefault((t["problem"], t["seed"]), {})[t["peer"]] = scores.curve(t, best, typical, resolution, reference)
    return out


def middle(values):
    values = list(values)
    return statistics.median(values) if values else math.nan


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
                     + ["| " + " | ".join(str(c) for c in r) + " |" for r in rows])


def costs(traces, at):
    """{peer: (median, 95th percentile) of processor seconds of an ask after `at` trials or more}."""
    by = {}
    for t in traces:
        # What a tell computes is waited for too unless the asker has something else to do.
        by.setdefault(t["peer"], []).extend(x["ask_cpu"] + x["tell_cpu"] for x in t["trials"][at:])
    return {p: (statistics.median(v), sorted(v)[int(0.95 * (len(v) - 1))]) for p, v in by.items() if v}


SMOOTH = ("f1-d10", "f2-d10", "f8-d10", "f10-d10")
DRAWS = 20_000


@functools.lru_cache(maxsize=None)
def drawn(name, seed):
    rng = np.random.default_rng([seed, 5])
    p = made(name, seed)
    return np.array([p.true(p.draw(rng))[0] for _ in range(DRAWS)])


def random_needs(traces):
    """A table: how many times cusp's trials random search needs for what those reached."""
    rows = []
    for name in SMOOTH:
        mine = [t for t in traces if (t["problem"], t["peer"], t["status"]) == (name, "cusp", "done")]
        # A random setting is as good with a chance that the draws tell; none of them: less than one in all.
        ratios = sorted((DRAWS / max(1, as_good) / len(t["trials"]), not as_good) for t in mine
                        for as_good in [int(np.sum(drawn(name, t["seed"]) <= scores.handed_out(t)))])
        if ratios:
            rows.append([name, len(ratios)] + [f"{'more than ' if none else ''}{r:,.0f}" for r, none in
                                               (ratios[0], ratios[len(ratios) // 2])])
    return table(["problem", "runs", "times the trials, worst run", "median"], rows) if rows else "(not run)"


def by_family(areas, families, peers):
    """The only fair one: on the same runs."""
    all_families = sorted(set(families.values()))
    rows = []
    for p in peers:
        row = [p]
        for f in all_families:
            n, gap, prob = scores.paired(*({c: a for c, a in areas.get(who, {}).items() if families[c[0]] == f} for who in ("cusp", p)))
            row.append(f"{gap:+.3f} ({n}, {prob:.2g})" if n else "")
        rows.append(row)
    return table(["optimiser", *all_families], rows)


def joint(areas):
    """Mean ranks of everyone with enough runs, on the runs that all of them played; fewer optimisers, more runs."""
    out, order = [], sorted(areas, key=lambda p: -len(areas[p]))
    for k in range(3, len(order) + 1):
        some = {p: areas[p] for p in order[:k]}
        cases = set.intersection(*(set(a) for a in some.values()))
        if "cusp" in some and len(cases) >= 10:
            ranks = sorted(scores.ranks(some).items(), key=lambda x: x[1])
            out.append([len(cases), ", ".join(f"{p} {r:.2f}" for p, r in ranks)])
    return table(["runs", "mean rank"], out) if out else ""


def report(traces):
    played, versions = curves(traces), {t["peer"]: t["version"] for t in traces}
    families = {t["problem"]: t["family"] for t in traces}
    peers = sorted(versions)
    areas = {p: {c: scores.area(by[p]) for c, by in played.items() if p in by} for p in peers}
    final = {p: {c: by[p][-1] for c, by in played.items() if p in by} for p in peers}
    spent = costs(traces, 20)
    others = [p for p in peers if p != "cusp"]
    tests = {p: scores.paired(areas.get("cusp", {}), areas[p]) for p in others}
    adjusted = scores.holm({p: t[2] for p, t in tests.items() if t[0]})
    rows = []
    for p in sorted(peers, key=lambda p: middle(areas[p].values()) if areas[p] else 9):
        # Pairwise, so that a peer that cannot do some problems is compared on the others.
        n, gap, _ = tests.get(p, (len(areas[p]), math.nan, math.nan))
        both = {"cusp": areas.get("cusp", {}), p: areas[p]}
        place = scores.ranks(both) if p != "cusp" else {}
        rows.append([p, versions[p], len(areas[p]), f"{middle(areas[p].values()):.3f}", f"{middle(final[p].values()):.3f}",
                     f"{n}: {gap:+.3f}" if p != "cusp" else "", f"{place['cusp']:.2f} : {place[p]:.2f}" if place else "",
                     f"{adjusted[p]:.2g}" if p in adjusted else "",
                     f"{1e3 * spent[p][0]:,.1f} / {1e3 * spent[p][1]:,.1f}" if p in spent else ""])
    parts = [table(["optimiser", "version", "runs", "median area", "median score at the end", "cusp less it, runs of both",
                    "mean rank of the pair, cusp : it", "p, Holm", "CPU ms a suggestion after 20 trials, p50 / p95"], rows)]
    all_families = sorted(set(families.values()))
    rows = [[p] + [f"{middle(a for (c, _), a in areas[p].items() if families[c] == f):.3f} ({sum(families[c] == f for c, _ in areas[p])})"
                   if any(families[c] == f for c, _ in areas[p]) else "" for f in all_families] for p in peers]
    parts.append("Mean ranks on the runs that all of a row played:\n\n" + joint(areas))
    parts.append("cusp's area less the other's, median over the runs that both played, by family (runs, p of Wilcoxon's test, "
                 "not adjusted); negative: cusp is better:\n\n" + by_family(areas, families, others))
    parts.append("**Random search** needs this many times the trials of cusp's runs for what those reached, on smooth functions of ten "
                 f"parameters (from {DRAWS:,} random settings of each):\n\n" + random_needs(traces))
    parts.append("Median area of each family (runs), not the same runs for all:\n\n" + table(["optimiser", *all_families], rows))
    rows = []
    for name in sorted(families):
        row = [name]
        for p in peers:
            mine = [a for (c, _), a in areas[p].items() if c == name]
            row.append(f"{middle(mine):.3f}" if mine else "")
        numbers = [float(x) for x in row[1:] if x]
        rows.append([row[0]] + [f"**{x}**" if x and float(x) == min(numbers) else x for x in row[1:]])
    parts.append("Median area of each problem:\n\n" + table(["problem", *peers], rows))
    missing = sorted({(t["peer"], t["status"], t["why"] if t["status"] == "unsupported" else "") for t in traces
                      if t["status"] != "done"})
    if missing:
        parts.append("Not played to the end:\n" + "\n".join(
            f"- {p}: {s}{' (' + w + ')' if w else ''}: " + ", ".join(sorted({t["problem"] for t in traces if (t["peer"], t["status"]) == (p, s)
                                                                            and (not w or t["why"] == w)})) for p, s, w in missing))
    return "\n\n".join(parts), played, families


def plots(played, families, folder):
    out = []
    for family in sorted(set(families.values())):
        cases = [by for (name, _), by in played.items() if families[name] == family]
        # The same cases for every line, or the lines could not be compared.
        peers = sorted(p for p in set().union(*cases) if sum(p in by for by in cases) * 2 > len(cases)) if cases else []
        cases = [by for by in cases if all(p in by for p in peers)]
        if not cases:
            continue
        length = min(len(c) for by in cases for c in by.values())
        data = {p: [middle(by[p][i] for by in cases) for i in range(length)] for p in peers}
        file = f"{family.replace(' ', '-')}.svg"
        (folder / file).write_text(lines(f"{family}: {len(cases)} runs each, median", "trials", "score (0: optimum)", data))
        out.append(f"![{family}](hpo/{file})")
    return out


def main():
    p = argparse.ArgumentParser(prog="report.py", description="Writes docs/hpo.md and its plots.")
    p.add_argument("--out", default="docs", type=Path)
    p.add_argument("--cusp", help="which of cusp's versions (default: the newest)")
    p.add_argument("--note", help="a paragraph on these runs, put before the tables")
    args = p.parse_args()
    traces = trace.load_all({"cusp": args.cusp} if args.cusp else None)
    known = {e.name for e in entries()}
    text, played, families = report([t for t in traces if t["problem"] in known])
    (args.out / "hpo").mkdir(parents=True, exist_ok=True)
    pictures = plots(played, families, args.out / "hpo")
    head = (Path(__file__).resolve().parent / "head.md").read_text()
    (args.out / "hpo.md").write_text("\n\n".join([head.rstrip(), *([args.note] if args.note else []), text, *pictures]) + "\n")


if __name__ == "__main__":
    main()
