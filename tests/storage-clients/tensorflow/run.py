"""TensorFlow's own gs:// file system against cusp. It knows no other endpoint than www.googleapis.com and
storage.googleapis.com, so a small CONNECT proxy leads those names here, as names do inside a job; TLS is cusp's. One JSON
line a case; see ../README.md."""
import json
import os
import socket
import sys
import threading
import urllib.request
import uuid

HOST, PORT = os.environ["CUSP_ENDPOINT"].split("//")[1].split(":")


def pump(a, b):
    try:
        while data := a.recv(1 << 16):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def tunnel(client):
    head = b""
    while b"\r\n\r\n" not in head:
        more = client.recv(4096)
        if not more:
            return
        head += more
    name = head.split()[1].decode()
    if not head.startswith(b"CONNECT ") or not name.endswith("googleapis.com:443"):
        client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        client.close()
        return
    server = socket.create_connection((HOST, int(PORT)))
    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    threading.Thread(target=pump, args=(client, server), daemon=True).start()
    pump(server, client)


def proxy():
    """In a process of its own: TensorFlow retries with Python's lock held, so a thread here would never answer it."""
    s = socket.create_server(("127.0.0.1", 0))
    gone, alive = os.pipe()
    if os.fork():
        os.close(gone)  # `alive` closes when this process ends, however it does
        return f"http://127.0.0.1:{s.getsockname()[1]}"
    os.close(alive)
    threading.Thread(target=lambda: (os.read(gone, 1), os._exit(0)), daemon=True).start()
    while True:
        threading.Thread(target=tunnel, args=(s.accept()[0],), daemon=True).start()


RUN = uuid.uuid4().hex[:8]
BUCKET = "tf-" + RUN
os.environ.update({"https_proxy": proxy(), "CURL_CA_BUNDLE": os.environ["CUSP_CA"], "NO_GCE_CHECK": "true", "TF_CPP_MIN_LOG_LEVEL": "2",
                   "GCS_READ_CACHE_DISABLED": "1", "CUDA_VISIBLE_DEVICES": ""})
import tensorflow as tf  # noqa: E402 (reads the variables above)

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "python"))
from cases import run  # noqa: E402 (in ../python)

G = tf.io.gfile
AT = f"gs://{BUCKET}"


def bucket():
    request = urllib.request.Request(os.environ["CUSP_ENDPOINT"] + "/storage/v1/b?project=demo", json.dumps({"name": BUCKET}).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as r:
        assert r.status == 200
    assert G.exists(AT + "/") and not G.exists(AT + "/missing")


def write_read():
    with G.GFile(AT + "/a.txt", "w") as f:
        f.write("one\ntwo\n")
    with G.GFile(AT + "/a.txt") as f:
        assert f.read() == "one\ntwo\n"
    with G.GFile(AT + "/a.txt") as f:
        f.seek(4)
        assert f.readline() == "two\n"
    s = G.stat(AT + "/a.txt")
    assert s.length == 8 and not s.is_directory and s.mtime_nsec > 0


def large():
    data = os.urandom(5 * 2**20 + 3)
    with G.GFile(AT + "/big", "wb") as f:
        f.write(data)
    with G.GFile(AT + "/big", "rb") as f:
        assert f.read() == data


def directories():
    G.makedirs(AT + "/d/e")
    assert G.isdir(AT + "/d") and G.isdir(AT + "/d/e") and not G.isdir(AT + "/a.txt")
    with G.GFile(AT + "/d/e/x", "w") as f:
        f.write("x")
    assert sorted(n.rstrip("/") for n in G.listdir(AT + "/d")) == ["e"]
    assert [n[0].rstrip("/") for n in G.walk(AT + "/d")] == [AT + "/d", AT + "/d/e"]
    assert G.glob(AT + "/d/e/*") == [AT + "/d/e/x"]


def rename_copy_remove():
    G.rename(AT + "/a.txt", AT + "/b.txt")
    assert not G.exists(AT + "/a.txt") and G.exists(AT + "/b.txt")
    G.copy(AT + "/b.txt", AT + "/c.txt", overwrite=True)
    G.remove(AT + "/b.txt")
    with G.GFile(AT + "/c.txt") as f:
        assert f.read() == "one\ntwo\n"
    G.rmtree(AT + "/d")
    assert not G.exists(AT + "/d/e/x")


def append():
    with G.GFile(AT + "/log", "w") as f:
        f.write("one")
    with G.GFile(AT + "/log", "a") as f:
        f.write("two")
    with G.GFile(AT + "/log") as f:
        assert f.read() == "onetwo"


def checkpoint_and_records():
    with tf.io.TFRecordWriter(AT + "/r.tfrecord") as w:
        for i in range(100):
            w.write(b"%d" % i)
    assert [r.numpy() for r in tf.data.TFRecordDataset(AT + "/r.tfrecord")] == [b"%d" % i for i in range(100)]
    v = tf.Variable(7.0)
    path = tf.train.Checkpoint(v=v).save(AT + "/ckpt/c")
    v.assign(0.0)
    tf.train.Checkpoint(v=v).restore(path).assert_consumed()
    assert v.numpy() == 7.0 and tf.train.latest_checkpoint(AT + "/ckpt") == path


run("tensorflow", tf.__version__, (bucket, write_read, large, directories, rename_copy_remove, append, checkpoint_and_records))
