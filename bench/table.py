"""The table of figures, as text or as JSON."""
import json
import os
import platform


class Table:
    def __init__(self):
        self.rows = []
        self.skipped = []
        self.load_before = round(os.getloadavg()[0], 2)

    def add(self, figure, value, unit, compare, target, peer):
        """compare "<=" or ">=" with target, or None for a figure without a target."""
        ok = None if compare is None else value <= target if compare == "<=" else value >= target
        self.rows.append({"figure": figure, "value": value, "unit": unit, "compare": compare, "target": target,
                          "peer": peer, "ok": ok, "load": round(os.getloadavg()[0], 2)})

    def skip(self, figure, why):
        self.skipped.append({"figure": figure, "why": why})

    @staticmethod
    def machine():
        with open("/proc/meminfo", encoding="ascii") as f:
            mem = int(f.readline().split()[1]) >> 20
        return {"processors": os.cpu_count(), "memory_gib": mem, "kernel": platform.release(),
                "load": [round(x, 2) for x in os.getloadavg()]}

    @staticmethod
    def number(v):
        return f"{v:,.0f}" if v >= 1000 else f"{v:.1f}"

    def text(self):
        m = self.machine()
        lines = [("figure", "value", "target", "", "peer, same run")]
        for r in self.rows:
            target = "" if r["compare"] is None else f"{r['compare']} {r['target']:,} {r['unit']}"
            mark = {None: "", True: "ok", False: "SHORT"}[r["ok"]]
            lines.append((r["figure"], f"{self.number(r['value'])} {r['unit']}", target, mark, r["peer"]))
        width = [max(len(row[i]) for row in lines) for i in range(5)]
        out = [f"{m['processors']} processors, {m['memory_gib']} GiB, Linux {m['kernel']}, load {self.load_before} before, "
               f"{m['load'][0]} after"]
        for row in lines:
            out.append(f"{row[0]:<{width[0]}}  {row[1]:>{width[1]}}  {row[2]:>{width[2]}}  {row[3]:<{width[3]}}  {row[4]}".rstrip())
        out += [f"SKIPPED {s['figure']}: {s['why']}" for s in self.skipped]
        return "\n".join(out)

    def json(self):
        return json.dumps({"machine": self.machine(), "figures": self.rows, "skipped": self.skipped}, indent=2)
