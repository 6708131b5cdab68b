"""The harness that compares the tuner with other optimisers: its problems have the optima they claim, its
scores say what they should, and its peers (cusp's tuner among them) speak its protocol."""
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

np = pytest.importorskip("numpy", reason="the harness computes with numpy: tools/dev deps")
BENCH = Path(__file__).resolve().parents[2] / "bench" / "hpo"
sys.path.insert(0, str(BENCH))

import scores  # noqa: E402
from episode import episode  # noqa: E402
from peer import Kept, Peer  # noqa: E402
from problems import bbob, shapes, variants  # noqa: E402
from problems.catalogue import Entry  # noqa: E402

UNIFORM = [sys.executable, str(BENCH / "peers" / "uniform.py")]


@pytest.mark.parametrize("number", bbob.FUNCTIONS)
def test_bbob_optima(number):
    rng = np.random.default_rng(number)
    for d, instance in ((2, 1), (5, 3), (10, 7)):
        f, xopt, fopt = bbob.function(number, instance, d)
        assert abs(f(xopt) - fopt) < 1e-6 and np.all(np.abs(xopt) <= 5)
        for x in rng.uniform(-5, 5, (50, d)):
            assert f(x) > fopt
        # A small step away is already worse, in every direction that there is an axis for.
        assert all(f(xopt + 1e-3 * e) > fopt for e in np.eye(d))


def test_bbob_rotations_are_rotations():
    for d in (2, 5, 10):
        r = bbob.rotation(1000017, d)
        assert np.allclose(r @ r.T, np.eye(d), atol=1e-12)


# Taken from the package ioh 0.3.22, an independent implementation, at (1, -2, 3, -4, 0.5), instance 3.
ORACLE = {1: -192.55671168000003, 2: 12442487.426772647, 3: 967.3071486238973, 6: 329866.451996055, 8:
          7328.403635503238, 10: 4811602.479398956, 13: 1672.7110710244935, 15: 274.2472213088106, 17:
          310.9050667893031, 20: 47784.5367905494, 21: -300.5442038153925}


@pytest.mark.parametrize("number", bbob.FUNCTIONS)
def test_bbob_values_are_the_suites(number):
    f, _, _ = bbob.function(number, 3, 5)
    assert f([1, -2, 3, -4, 0.5]) == pytest.approx(ORACLE[number], rel=1e-9)


def test_mixed_variants_keep_the_optimum():
    for number in (1, 8, 15):
        p = variants.mixed(number, 5, 2)
        rng = np.random.default_rng(5)
        _, xopt, fopt = bbob.function(number, 2, 5)
        best = math.inf
        for a in range(1, 9):
            for b in p.params[1]["values"]:
                for c in p.params[2]["values"]:
                    s = {"x0": a, "x1": b, "x2": c, "x3": xopt[3], "x4": xopt[4]}
                    p.check(s)
                    best = min(best, p.true(s)[0])
        assert best == pytest.approx(fopt, abs=1e-9)
        assert all(p.true(p.draw(rng))[0] >= fopt for _ in range(100))


def test_branches_and_fronts():
    rng = np.random.default_rng(1)
    p = shapes.branches(1)
    values = []
    for _ in range(3000):
        s = p.draw(rng)
        p.check(s)
        values.append(p.true(s)[0])
    assert min(values) > 0
    with pytest.raises(ValueError, match="depth: given, but not active"):
        p.check({**{k: v for k, v in s.items() if k == "subsample"}, "learner": "linear", "alpha": 0.1, "depth": 3})
    for p in (shapes.two_bowls(4, 1), shapes.dented(4, 1)):
        few = scores.hypervolume([p.true(p.draw(rng)) for _ in range(500)], p.reference)
        assert 0 < few < p.best
    # Points on the front fill the greatest area.
    _, a, _ = bbob.function(1, 1, 4)
    _, b, _ = bbob.function(1, 51, 4)
    p = shapes.two_bowls(4, 1)
    line = [p.true({f"x{i}": v for i, v in enumerate(a + t * (b - a))}) for t in np.linspace(0, 1, 400)]
    assert scores.hypervolume(line, p.reference) == pytest.approx(p.best, rel=0.01)


def test_scores_of_made_up_traces():
    trace = {"trials": [{"told": [v], "true": [v]} for v in (10.0, 1.0, 5.0, 0.1)]}
    assert scores.regrets(trace, 0.0) == [10.0, 1.0, 1.0, 0.1]
    assert scores.curve(trace, 0.0, 10.0, 0.01) == pytest.approx([1.0, 2 / 3, 2 / 3, 1 / 3])
    # Noise misleads: what counts is what the setting is worth, not what was told of it.
    trace = {"trials": [{"told": [2.0], "true": [3.0]}, {"told": [1.0], "true": [4.0]}, {"told": None, "true": None}]}
    assert scores.regrets(trace, 0.0) == [3.0, 4.0, 4.0]
    assert scores.ranks({"a": {1: 0.1, 2: 0.5}, "b": {1: 0.2, 2: 0.5}}) == {"a": 1.25, "b": 1.75}
    assert scores.hypervolume([(1, 2), (2, 1), (2, 2), (5, 0)], (3, 3)) == 3.0


def test_paired_tests():
    # All of six signs alike: 2 of 64 ways, as in Wilcoxon's table.
    assert scores.signed_ranks([1, 2, 3, 4, 5, 6]) == pytest.approx(2 / 64)
    assert scores.signed_ranks([1, -1]) == 1.0 and scores.signed_ranks([0, 0]) == 1.0
    # Ranks 1 against 2..5: sums of at most 1 or at least 14 of 15: 4 of 32.
    assert scores.signed_ranks([-1, 2, 3, 4, 5]) == pytest.approx(4 / 32)
    assert scores.paired({1: 0.1, 2: 0.2, 3: 0.9}, {1: 0.3, 2: 0.6})[:2] == (2, pytest.approx(-0.3))
    assert scores.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


def test_a_peer_answers_line_for_line(tmp_path):
    p = shapes.branches(2)
    peer = Peer(UNIFORM, tmp_path / "err")
    try:
        assert peer.call({"op": "start", "seed": 3, "trials": 20, "parallel": 2, "noise": p.noise, "metrics": p.metrics,
                          "params": p.params})["ok"]
        for i in range(20):
            p.check(peer.call({"op": "ask", "id": i})["setting"])
            assert peer.call({"op": "tell", "id": i, "values": [0.5]})["cpu"] >= 0
    finally:
        peer.close()


def test_episodes_in_parallel_end_in_their_own_order(tmp_path):
    entry = Entry("f1-d5-p4", "parallel", 12, lambda seed: bbob.bbob(1, 5, seed + 1), parallel=4)
    t = episode("random", "1", UNIFORM, entry, 0, 8.0, tmp_path / "err")
    assert t["status"] == "done" and len(t["trials"]) == 12
    assert max(x["pending"] for x in t["trials"]) == 3
    ends = [x["ended"] for x in t["trials"]]
    assert ends == sorted(ends)
    again = episode("random", "1", UNIFORM, entry, 0, 8.0, tmp_path / "err")
    assert [x["told"] for x in again["trials"]] == [x["told"] for x in t["trials"]]


def test_runs_together_are_the_runs_of_processes_of_their_own(tmp_path):
    """One process serves two runs and is then replaced; one whose run failed serves no other."""
    def entry(d):
        return Entry(f"f1-d{d}", "bbob", 6, lambda seed: bbob.bbob(1, d, seed + 1))
    alone = [episode("random", "1", UNIFORM, entry(d), 3, 8.0, tmp_path / "err") for d in (5, 2, 5)]
    kept = Kept(2)
    try:
        together, processes = [], []
        for d in (5, 2, 5):
            together.append(episode("random", "1", UNIFORM, entry(d), 3, 8.0, tmp_path / "err", kept))
            processes += [p.proc.pid for p in kept.idle.values()]
        assert [t["place"] for t in together] == [1, 2, 1] and len(set(processes)) == 2
        for a, b in zip(alone, together):
            assert b["status"] == "done" and [x["setting"] for x in a["trials"]] == [x["setting"] for x in b["trials"]]
        kept.close()

        def bad(seed):
            p = bbob.bbob(1, 5, seed)
            p.params[0].update(lo=6.0, hi=7.0)  # what the peer is told; the problem's own check refuses it
            p.check = lambda setting: bbob.bbob(1, 5, seed).check(setting)
            return p
        t = episode("random", "1", UNIFORM, Entry("f1-d5", "bbob", 6, bad), 3, 8.0, tmp_path / "err", kept)
        assert t["status"] == "error" and not kept.idle
    finally:
        kept.close()


@pytest.fixture(scope="module")
def tune_drive():
    build = Path(os.environ.get("CUSP_RELEASE") or os.environ.get("CUSP_BUILD", "build"))
    subprocess.run(["ninja", "-C", str(build), "bench/tune_drive"], check=True, stdout=subprocess.DEVNULL)
    return [str(build / "bench" / "tune_drive")]


def test_cusp_plays_every_kind_of_problem(tune_drive, tmp_path):
    for entry in (Entry("branches", "conditional", 15, lambda seed: shapes.branches(1)),
                  Entry("mixed", "mixed", 15, lambda seed: variants.mixed(8, 5, 1), parallel=4),
                  Entry("dented", "two objectives", 15, lambda seed: shapes.dented(4, 1))):
        t = episode("cusp", "x", tune_drive, entry, 0, 8.0, tmp_path / "err")
        assert (t["status"], t["why"], len(t["trials"])) == ("done", "", 15), entry.name


def test_random_search_needs_ten_times_the_trials(tune_drive, tmp_path):
    """On the sphere with ten dimensions, the median of three instances."""
    def best(cmd, name, budget, seed):
        entry = Entry("f1-d10", "bbob", budget, lambda s: bbob.bbob(1, 10, s + 1))
        t = episode(name, "x", cmd, entry, seed, 8.0, tmp_path / "err")
        assert t["status"] == "done", t["why"]
        return scores.regrets(t, entry.make(seed).best)[-1]
    ours = sorted(best(tune_drive, "cusp", 40, seed) for seed in range(3))[1]
    theirs = sorted(best(UNIFORM, "random", 400, seed) for seed in range(3))[1]
    assert ours < theirs


def test_the_page_says_who_was_better(tmp_path):
    """Made-up traces of two optimisers on the sphere; the one that comes nearer is ranked first."""
    import report

    def run(peer, factor, seed):
        p = bbob.bbob(1, 5, seed + 1)
        values = [p.best + factor * 100 * 0.9 ** i for i in range(50)]
        trials = [{"setting": {}, "told": [v], "true": [v], "ask_cpu": 0.001 * factor, "tell_cpu": 0.0} for v in values]
        return {"peer": peer, "version": "1", "problem": "f1-d5", "family": "bbob", "seed": seed, "budget": 50, "parallel": 1,
                "status": "done", "why": "", "trials": trials}
    traces = [run(peer, factor, seed) for peer, factor in (("cusp", 0.1), ("other", 1.0)) for seed in range(3)]
    p = bbob.bbob(1, 10, 1)
    near = [{**x, "told": [p.best + 1e-3], "true": [p.best + 1e-3]} for x in traces[0]["trials"]]
    traces.append({**traces[0], "problem": "f1-d10", "trials": near})
    traces.append({**traces[0], "peer": "third", "problem": "branches", "status": "unsupported", "why": "branches", "trials": []})
    text, played, families = report.report(traces)
    cusp, other = (next(r for r in text.splitlines() if r.startswith(f"| {n} |")) for n in ("cusp", "other"))
    assert text.index(cusp) < text.index(other) and "1.00 : 2.00" in other and "| 0.25 |" in other
    assert "| f1-d10 | 1 | more than 400 | more than 400 |" in text  # none of 20,000, after 50 trials
    paired = [r for r in text.splitlines() if r.startswith("| other |") and "(3, 0.25)" in r]
    assert len(paired) == 1 and paired[0].startswith("| other | -")
    assert "- third: unsupported (branches): branches" in text
    pictures = report.plots(played, families, tmp_path)
    assert pictures == ["![bbob](hpo/bbob.svg)"] and (tmp_path / "bbob.svg").read_text().count("<polyline") == 2
