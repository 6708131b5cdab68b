"""From traces to scores. A trace's regret after n trials is that of the setting it would then hand
out: the one with the best value told so far, counted by its true value. Two objectives: what the
settings so far lack of the greatest hypervolume.

The score at n is log10 of regret between 1 (what a typical random setting has) and 0 (the
problem's resolution), clipped. Area: its mean over n, so that early progress counts."""
import math
import statistics

from problems.problem import hypervolume


def regrets(trace, best, reference=None):
    out, incumbent, seen, points = [], None, None, []
    for t in trace["trials"]:
        if t["told"] is not None:
            if reference is not None:
                points.append(t["true"])
            elif seen is None or t["told"][0] < seen:
                seen, incumbent = t["told"][0], t["true"][0]
        if reference is not None:
            out.append(best - hypervolume(points, reference))
        else:
            out.append(math.inf if incumbent is None else incumbent - best)
    return out


def handed_out(trace):
    """The true value of the setting with the best value told (one objective)."""
    told = [t for t in trace["trials"] if t["told"] is not None]
    return min(told, key=lambda t: t["told"][0])["true"][0] if told else math.inf


def normal(regret, typical, resolution):
    """0..1 as said above."""
    if regret >= typical:
        return 1.0
    return max(0.0, math.log(max(regret, resolution) / resolution) / math.log(typical / resolution))


def curve(trace, best, typical, resolution, reference=None):
    return [normal(r, typical, resolution) for r in regrets(trace, best, reference)]


def area(scores):
    return sum(scores) / len(scores)


def rank(values):
    """1 for the smallest; equal values share the mean of their ranks."""
    order = sorted(range(len(values)), key=values.__getitem__)
    out, i = [0.0] * len(values), 0
    while i < len(order):
        j = i
        while j < len(order) and values[order[j]] == values[order[i]]:
            j += 1
        for k in order[i:j]:
            out[k] = (i + j + 1) / 2
        i = j
    return out


def ranks(by_peer):
    """{peer: {case: score}} -> {peer: mean rank} over the cases that all have; 1 is best."""
    peers = sorted(by_peer)
    cases = sorted(set.intersection(*(set(by_peer[p]) for p in peers))) if peers else []
    sums = dict.fromkeys(peers, 0.0)
    for case in cases:
        for peer, place in zip(peers, rank([by_peer[p][case] for p in peers])):
            sums[peer] += place
    return {p: sums[p] / len(cases) for p in peers} if cases else {}


def signed_ranks(gaps):
    """Wilcoxon's test, both sides, exact: the probability of a sum of signed ranks at least this far
    from its middle when each sign is a coin's. Gaps of nothing are left out."""
    gaps = [g for g in gaps if g]
    if not gaps:
        return 1.0
    twice = [round(2 * r) for r in rank([abs(g) for g in gaps])]  # whole, whatever ties there are
    ways = {0: 1}
    for r in twice:
        more = dict(ways)
        for total, n in ways.items():
            more[total + r] = more.get(total + r, 0) + n
        ways = more
    far = abs(2 * sum(r for r, g in zip(twice, gaps) if g > 0) - sum(twice))
    return sum(n for total, n in ways.items() if abs(2 * total - sum(twice)) >= far) / 2 ** len(gaps)


def paired(ours, theirs):
    """(cases, median difference, p) of two {case: score}; negative: ours is better."""
    gaps = [ours[c] - theirs[c] for c in sorted(set(ours) & set(theirs))]
    if not gaps:
        return 0, math.nan, math.nan
    return len(gaps), statistics.median(gaps), signed_ranks(gaps)


def holm(pvalues):
    """{name: p} -> {name: p adjusted for how many there are}."""
    out, worst = {}, 0.0
    ordered = sorted(pvalues.items(), key=lambda kv: kv[1])
    for i, (name, p) in enumerate(ordered):
        worst = max(worst, min(1.0, p * (len(ordered) - i)))
        out[name] = worst
    return out
