"""Random search: uniform on each parameter's scale."""
import math
import random

import line


class Uniform:
    def __init__(self, study):
        self.params = study["params"]
        self.rng = random.Random(study["seed"])

    def draw(self, p):
        if "values" in p:
            return self.rng.choice(p["values"])
        lo, hi = p["lo"], p["hi"]
        if p["type"] == "integer" and p["scale"] == "linear":
            return self.rng.randint(lo, hi)
        u = self.rng.random()
        if p["scale"] == "log":
            x = math.exp(math.log(lo) + u * (math.log(hi) - math.log(lo)))
        elif p["scale"] == "reverse_log":
            x = lo + hi - math.exp(math.log(hi) - u * (math.log(hi) - math.log(lo)))
        else:
            x = lo + u * (hi - lo)
        x = min(max(x, lo), hi)
        return round(x) if p["type"] == "integer" else x

    def ask(self, _id):
        out = {}
        for p in self.params:
            if "parent" not in p or out.get(p["parent"]) in p["when"]:
                out[p["name"]] = self.draw(p)
        return out

    def tell(self, _id, _values):
        pass


if __name__ == "__main__":
    line.serve("1", Uniform)
