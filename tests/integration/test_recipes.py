"""Images built by recipes/: what they list and pin, and a training job on each.

By default only on sklearn-cpu, where it is in the cache already (make demo builds it); CUSP_EXTENDED=1 builds all four,
from Debian and PyPI, and sklearn-cpu once more to compare digests.
"""
import glob
import io
import json
import os
import re
import subprocess
import tarfile

import pytest

from conftest import BUILD, ROOT, container_job, needs_root

CACHE = os.environ.get("CUSP_RECIPE_CACHE", "/var/cache/cusp/recipes")
EXTENDED = bool(os.environ.get("CUSP_EXTENDED"))
RECIPES = ["pytorch-cpu", "sklearn-cpu", "tf-cpu", "xgboost-cpu"]
TOOL = os.path.join(ROOT, "recipes", "build")


def tool(*args, **kw):
    return subprocess.run([TOOL, *args], capture_output=True, text=True, **kw)


def built(name):
    """The image's json in the cache, of today's recipe."""
    if name != "sklearn-cpu" and not EXTENDED:
        pytest.skip(f"extended: a job on {name} (CUSP_EXTENDED=1 builds it and runs one)")
    state = {l.split()[0]: l.split()[1] for l in tool("--list").stdout.splitlines()}[name]
    if state != "built":
        if not EXTENDED:
            pytest.skip(f"NOT TESTED: {name} is not built here (cusp images build {name}, or CUSP_EXTENDED=1)")
        r = tool(name)
        assert r.returncode == 0, r.stderr[-3000:]
    return max(glob.glob(f"{CACHE}/{name}-*.image.json"), key=os.path.getmtime)


def pins(layer):
    text = open(os.path.join(ROOT, "recipes", "layers", layer + ".txt")).read().replace("\\\n", " ")
    return {l.split("==")[0]: l for l in text.splitlines() if l}


def test_list():
    r = subprocess.run([os.path.join(BUILD, "cusp"), "images", "build", "--list"], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    rows = [l.split(None, 2) for l in r.stdout.splitlines()]
    assert [x[0] for x in rows] == RECIPES
    assert all(x[1] in ("built", "-") and re.search(r"Python 3\.\d+", x[2]) for x in rows)


def test_what_is_wrong_is_said():
    cusp = os.path.join(BUILD, "cusp")
    r = subprocess.run([cusp, "images", "build", "caffe-cpu"], capture_output=True, text=True)
    assert r.returncode != 0 and "there is no recipe \"caffe-cpu\"" in r.stderr and "xgboost-cpu" in r.stderr
    for words in (["../build"], ["a", "b"], ["--frobnicate"]):
        assert tool(*words).returncode == 1
    r = subprocess.run([cusp, "images", "build", "x", "--list"], capture_output=True, text=True)
    assert r.returncode != 0 and "usage" in r.stderr


def test_every_python_package_is_pinned_with_hashes():
    layers = [os.path.basename(f)[:-4] for f in glob.glob(ROOT + "/recipes/layers/*.txt")]
    assert sorted(layers) == ["science", "tensorflow", "torch-science", "xgboost"]
    for layer in layers:
        for name, line in pins(layer).items():
            assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( +--hash=sha256:[0-9a-f]{64})+ *", line), line
    assert {"cloudml-hypertune", "google-cloud-storage", "scikit-learn"} <= set(pins("science")) & set(pins("torch-science"))


def test_aliases_name_recipes_that_exist():
    text = open(os.path.join(ROOT, "src/engine/image/alias.c")).read()
    named = set(re.findall(r'\}, "([\w-]+)"\}', text))
    assert named == set(RECIPES)


# ---- jobs

HYPERTUNE = """
import hypertune, json, os
def report(value):
    hypertune.HyperTune().report_hyperparameter_tuning_metric('accuracy', value, 7)
    path = os.environ.get('CLOUD_ML_HP_METRIC_FILE', '/tmp/hypertune/output.metrics')
    print('REPORTED', open(path).read())
"""

TRAIN = {
    "sklearn-cpu": ("training/sklearn-cpu.1-0", "scikit-learn", """
from sklearn.linear_model import LogisticRegression
from sklearn.datasets import load_iris
x, y = load_iris(return_X_y=True)
report(LogisticRegression(max_iter=500).fit(x, y).score(x, y))
"""),
    "xgboost-cpu": ("training/xgboost-cpu.2-1", "xgboost", """
import xgboost
from sklearn.datasets import load_iris
x, y = load_iris(return_X_y=True)
report(xgboost.XGBClassifier(n_estimators=5).fit(x, y).score(x, y))
"""),
    "tf-cpu": ("training/tf-gpu.2-17.py310", "tensorflow", """
import numpy, tensorflow as tf
from sklearn.datasets import load_iris
x, y = load_iris(return_X_y=True)
tf.keras.utils.set_random_seed(1)
m = tf.keras.Sequential([tf.keras.layers.Dense(16, activation='relu'), tf.keras.layers.Dense(3)])
m.compile('adam', tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=['accuracy'])
m.fit(x, y, epochs=60, verbose=0)
report(float(m.evaluate(x, y, verbose=0)[1]))
"""),
    "pytorch-cpu": ("training/pytorch-xla.2-4.py310", "torch", """
import torch
from sklearn.datasets import load_iris
x, y = (torch.tensor(a) for a in load_iris(return_X_y=True))
torch.manual_seed(1)
m = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)).double()
o = torch.optim.Adam(m.parameters(), lr=0.05)
for _ in range(60):
    o.zero_grad()
    torch.nn.functional.cross_entropy(m(x), y).backward()
    o.step()
report(float((m(x).argmax(1) == y).double().mean()))
"""),
}


def sdist(requires, main):
    setup = ("from setuptools import setup\n"
             f"setup(name='trainer', version='0.1', packages=['trainer'], install_requires={requires!r})\n")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as t:
        for path, text in (("setup.py", setup), ("trainer/__init__.py", ""), ("trainer/task.py", main)):
            i = tarfile.TarInfo("trainer-0.1/" + path)
            i.size = len(text)
            t.addfile(i, io.BytesIO(text.encode()))
    return out.getvalue()


def load(s, body):
    """TensorFlow's layers are gigabytes to read and to unpack."""
    r = s.http.post(s.url + "/cusp/v1/images:importPath", data=body, timeout=600)
    assert r.status_code == 200, r.text


@needs_root
@pytest.mark.parametrize("name", RECIPES)
def test_training_job(make_server, name):
    """A package that asks for the framework by its usual name is installed without a network, trains, and reports."""
    body = open(built(name)).read()
    published, distribution, script = TRAIN[name]
    s = make_server("--engine=local", "--cpu-milli=16000", "--mem-mb=65536",
                    env={"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_DEFAULT_TIMEOUT": "1", "PIP_RETRIES": "0"}).start()
    load(s, body)
    s.call("POST", "/storage/v1/b?project=demo", {"name": "bkt"})
    package = sdist([distribution, "cloudml-hypertune", "google-cloud-storage", "numpy"], HYPERTUNE + script)
    r = s.http.post(s.url + "/upload/storage/v1/b/bkt/o?uploadType=media&name=trainer-0.1.tar.gz", data=package)
    assert r.status_code == 200, r.text
    job = s.create({"displayName": name, "jobSpec": {"workerPoolSpecs": [{
        "machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": 1, "pythonPackageSpec": {
            "executorImageUri": f"europe-docker.pkg.dev/vertex-ai/{published}:latest",
            "packageUris": ["gs://bkt/trainer-0.1.tar.gz"], "pythonModule": "trainer.task"}}]}})
    done = s.wait(job["name"], 300)
    text = [l["message"] for l in s.logs(job["name"])]
    assert done["state"] == "JOB_STATE_SUCCEEDED", "\n".join(text[-40:])
    [reported] = [l for l in text if l.startswith("REPORTED")]
    metric = json.loads(reported.split(None, 1)[1])
    assert float(metric["accuracy"]) > 0.6 and metric["global_step"] == "7"


IN_JOB = """
import sys
import google.auth
from google.cloud import storage
credentials, project = google.auth.default()
print('ADC', type(credentials).__module__, project)
client = storage.Client()
bucket = client.bucket('bucket-a')
bucket.blob('dir/out.txt').upload_from_string('from the job')
print('BUCKETS', [b.name for b in client.list_buckets()])
print('OBJECTS', [(b.name, b.size) for b in client.list_blobs('bucket-a')])
print('READ', bucket.blob('in.txt').download_as_text(), open('/gcs/bucket-a/dir/out.txt').read())
if len(sys.argv) > 1:
    import tensorflow as tf
    with tf.io.gfile.GFile('gs://bucket-a/gfile/x', 'w') as f:
        f.write('by tensorflow')
    print('GFILE', tf.io.gfile.GFile('gs://bucket-a/gfile/x').read(), tf.io.gfile.listdir('gs://bucket-a/gfile'))
"""


@needs_root
@pytest.mark.parametrize("mode", ["on", "off"])
@pytest.mark.parametrize("name", RECIPES)
def test_clients_of_the_image_unmodified(make_server, name, mode):
    """Reference 22: storage.Client() and google.auth.default() with nothing said, in transparent and environment mode; in
    transparent mode TensorFlow's own gs:// too."""
    body = open(built(name)).read()
    s = make_server("--engine=local", "--transparent=" + mode, "--cpu-milli=16000", "--mem-mb=65536").start()
    load(s, body)
    s.call("POST", "/storage/v1/b?project=demo", {"name": "bucket-a"})
    s.http.post(s.url + "/upload/storage/v1/b/bucket-a/o?uploadType=media&name=in.txt", data=b"from outside")
    gfile = ["gfile"] if name == "tf-cpu" and mode == "on" else []
    job = s.create(container_job("python3", "-c", IN_JOB, *gfile, image=f"us-docker.pkg.dev/vertex-ai/{TRAIN[name][0]}:latest"))
    done = s.wait(job["name"], 300)
    text = [x["message"] for x in s.logs(job["name"], task="workerpool0-0")]
    assert done["state"] == "JOB_STATE_SUCCEEDED", "\n".join(text[-40:])
    said = {l.split(" ", 1)[0]: l.split(" ", 1)[1] for l in text if l.split(" ", 1)[0] in ("ADC", "BUCKETS", "OBJECTS", "READ", "GFILE")}
    assert said["ADC"] == "google.auth.compute_engine.credentials demo" and "'bucket-a'" in said["BUCKETS"]
    assert said["OBJECTS"] == "[('dir/out.txt', 12), ('in.txt', 12)]" and said["READ"] == "from outside from the job"
    assert not gfile or said["GFILE"] == "by tensorflow ['x']"


@needs_root
def test_images_share_their_layers():
    """The three of Debian 12 begin with the same two layers; every blob of a layout is what its name says."""
    got = {n: json.load(open(built(n)))["path"] for n in (RECIPES if EXTENDED else ["sklearn-cpu"])}
    layers = {}
    for name, path in got.items():
        index = json.load(open(path + "/index.json"))
        manifest = json.load(open(f"{path}/blobs/sha256/" + index["manifests"][0]["digest"][7:]))
        layers[name] = [l["digest"] for l in manifest["layers"]]
        assert all(os.path.exists(f"{path}/blobs/sha256/{d[7:]}") for d in layers[name])
    base = [l[:2] for n, l in layers.items() if n != "pytorch-cpu"]
    assert all(b == base[0] for b in base)


@needs_root
@pytest.mark.skipif(not EXTENDED, reason="extended: builds an image from nothing (CUSP_EXTENDED=1)")
def test_same_digest_twice(tmp_path):
    first = json.load(open(built("sklearn-cpu")))["path"]
    r = tool("sklearn-cpu", "--out", str(tmp_path))
    assert r.returncode == 0, r.stderr[-3000:]
    again = json.load(open(r.stdout.strip().splitlines()[-1]))["path"]
    assert again != first
    assert open(first + "/index.json").read() == open(again + "/index.json").read()
