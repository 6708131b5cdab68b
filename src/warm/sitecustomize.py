"""Runs at the start of the Python that is to be frozen (docs/internals/warm-workers.md).

The interpreter was started like a trial's, without the trial's arguments, with this directory first
in PYTHONPATH. It imports what it was told to, forks, and the child, which has one thread and what a
fork leaves of everything else, is written to disk. Behind that call the frozen child ends; a thawed
one puts on the trial's arguments and environment, and the interpreter goes on starting as if this
module had never been there: what runs then is the trial's own command, in the ordinary way.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TCB_WORDS = 512
CHECKED = 42  # how the first thawing ends


def tell(text):
    """The one line that the server puts into the job's log. Kept short, printable."""
    text = " ".join(str(text).split())[:300]
    with open(os.path.join(HERE, "why"), "w", encoding="utf-8", errors="replace") as f:
        f.write(text)


def words_of(path):
    with open(path, "rb") as f:
        return f.read().split(b"\0")[:-1]


def first_path():
    """What the interpreter will put in front of sys.path for the command it is going to run."""
    words = [os.fsdecode(w) for w in words_of("/proc/self/cmdline")[1:]]
    options = [w for w in words if not w.startswith("-") or w in ("-m", "-c")]
    if options and options[0] == "-m":
        return os.getcwd()
    if options and options[0] != "-c":
        return os.path.dirname(os.path.realpath(options[0]))
    return ""


def swap_dicts(a, b):
    """Exchanges what two dictionaries hold, without touching a key or a value."""
    import ctypes

    head, size = object.__basicsize__, dict.__basicsize__ - object.__basicsize__
    of_a, of_b = ctypes.string_at(id(a) + head, size), ctypes.string_at(id(b) + head, size)
    ctypes.memmove(id(a) + head, of_b, size)
    ctypes.memmove(id(b) + head, of_a, size)


def copies_of(modules):
    """Where extension modules of the old kind (one phase) have their dictionary once more."""
    import ctypes

    of = ctypes.pythonapi.PyModule_GetDef
    of.restype, of.argtypes = ctypes.c_void_p, [ctypes.py_object]
    at = object.__basicsize__ + 2 * ctypes.sizeof(ctypes.c_void_p)  # PyModuleDef_Base.m_copy
    defs = {of(m) for m in modules if type(m) is type(sys)} - {None}
    return [d + at for d in defs if ctypes.c_void_p.from_address(d + at).value]


class Keeper:
    """What was imported before the freezing is not taken to pieces when the process ends: that would
    copy every page of it. What the interpreter does not find it leaves alone, so sys.modules becomes
    one without those modules. Registered before anything is imported, its exit function runs after
    every other one; made and filled before the freezing, it touches little."""

    def __init__(self):
        self.before, self.names, self.last, self.copies = set(sys.modules), set(), None, ()
        import atexit
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))  # for ever
        atexit.register(self.hide)

    def fill(self):
        """The imports are done."""
        self.names = set(sys.modules) - self.before - {"atexit"}
        self.rest = {n: m for n, m in sys.modules.items() if n not in self.names}
        self.last = next(n for n in reversed(sys.modules) if n in self.names)  # at least ctypes
        self.copies = copies_of(sys.modules[n] for n in self.names)

    def hide(self):
        import ctypes

        modules, rest, late = sys.modules, self.rest, []
        for name in reversed(modules):  # what came later stands behind
            if name == self.last:
                break
            if name not in self.names:
                late.append(name)
        for name in [*rest, *reversed(late)]:  # held once, as ever
            rest[name] = modules.pop(name, None)
            if rest[name] is None:
                del rest[name]
        swap_dicts(modules, rest)
        for at in self.copies:
            ctypes.memset(at, 0, ctypes.sizeof(ctypes.c_void_p))


def import_all(names):
    import importlib

    first = first_path()
    sys.path.insert(0, first)
    try:
        for name in names:
            try:
                importlib.import_module(name)
            except BaseException as e:
                raise RuntimeError(f"importing {name} failed: {type(e).__name__}: {e}") from e
    finally:
        del sys.path[0]
        # /gcs and whatever else is not here may be there
        for path, finder in list(sys.path_importer_cache.items()):
            if finder is None or path == first:
                del sys.path_importer_cache[path]


def address(libc, name):
    import ctypes

    try:
        return ctypes.addressof(ctypes.c_char.in_dll(libc, name))
    except ValueError:
        return 0


def rseq_address(libc, thread):
    import ctypes

    try:
        size = ctypes.c_uint.in_dll(libc, "__rseq_size").value
        return thread + ctypes.c_ssize_t.in_dll(libc, "__rseq_offset").value if size else 0
    except ValueError:
        return 0


def odd_descriptors():
    """Open files besides the standard streams cannot be carried over."""
    odd = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + name)
        except OSError:
            continue  # the listing's own
        if int(name) > 2:
            odd.append(target)
    return odd


def reseed():
    """Random states that were seeded by the system at import: every process has its own."""
    random = sys.modules.get("random")
    if random is not None:
        random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def changes_since(before):
    """What the imports did to the environment (sklearn sets two variables): name -> value, None."""
    now = dict(os.environb)
    gone = {n: None for n in before if n not in now}
    return gone | {n: v for n, v in now.items() if before.get(n) != v}


def put_on(nr_words, changes):
    """The command line and environment of this process, which the kernel has as executed."""
    args = [os.fsdecode(w) for w in words_of("/proc/self/cmdline")[nr_words:]]
    sys.argv[1:] = args
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[nr_words:] = args
    os.environ.clear()
    for entry in words_of("/proc/self/environ"):
        name, _, value = entry.partition(b"=")
        os.environb[name] = value
    for name, value in changes.items():
        if value is None:
            os.environb.pop(name, None)
        else:
            os.environb.setdefault(name, value)
    threading = sys.modules.get("threading")
    if hasattr(threading, "get_native_id"):
        threading.main_thread()._set_native_id()
    reseed()


def track_anew(thing):
    import ctypes
    import gc

    ctypes.pythonapi.PyObject_GC_UnTrack(ctypes.py_object(thing))
    if not gc.is_tracked(thing):
        ctypes.pythonapi.PyObject_GC_Track(ctypes.py_object(thing))


def freeze(changes):
    """Returns only in thawed processes."""
    import ctypes

    class Ask(ctypes.Structure):
        _fields_ = [
            ("path", ctypes.c_char_p),
            ("brk_at", ctypes.c_uint64),
            ("rseq_at", ctypes.c_uint64),
            ("tid_off", ctypes.c_uint64),
            ("used_bytes", ctypes.c_uint64),
            ("why", ctypes.c_char * 256),
        ]

    import gc

    lib = ctypes.PyDLL(os.path.join(HERE, "freeze.so"))
    libc = ctypes.CDLL(None)
    lib.warm_find_tid.restype = lib.warm_thread.restype = ctypes.c_uint64
    block = ctypes.c_uint32 * TCB_WORDS
    nr_words = len(words_of("/proc/self/cmdline"))
    gc.collect()
    gc.freeze()  # collections of the trial need not look at, and so copy, what was imported
    for mine in (sys.modules["__main__"], sys.modules["__main__"].__dict__):
        track_anew(mine)  # the trial's: its cycles end as ever
    blocks, pids = [], []
    for wait in (check, pass_on):
        blocks.append(block())
        lib.warm_tcb(blocks[-1], ctypes.c_uint64(TCB_WORDS))
        pids.append(os.getpid())
        child = os.fork()
        if child:
            os._exit(wait(child))

    ask = Ask(path=os.path.join(HERE, "image").encode())
    ask.brk_at = address(libc, "__curbrk")
    ask.rseq_at = rseq_address(libc, lib.warm_thread())
    ask.tid_off = lib.warm_find_tid(
        *blocks, ctypes.c_uint64(TCB_WORDS), (ctypes.c_uint32 * 3)(*pids, os.getpid())
    )
    if ask.tid_off == 0:
        tell("its C library is not known")
        os._exit(1)
    rc = lib.warm_freeze(ctypes.byref(ask))
    if rc != 1:
        if rc != 0:
            tell(ask.why.decode(errors="replace"))
        os._exit(0 if rc == 0 else 1)
    put_on(nr_words, changes)


def ended_with(status):
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def pass_on(child):
    """In the process between: see warm_find_tid."""
    code = ended_with(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def watch(pid):
    """Waits for the first thawing; what it wrote is noted in the image."""
    import ctypes

    lib = ctypes.PyDLL(os.path.join(HERE, "freeze.so"))
    lib.warm_watch.restype = ctypes.c_int64
    status = lib.warm_watch(os.path.join(HERE, "image").encode(), pid)
    return status if status >= 0 else os.waitpid(pid, 0)[1]


def end_as_a_trial(names):
    """The first thawing goes the way of every trial, but for the program: imports, and the end."""
    import importlib

    def instead(event, _):
        if event.startswith("cpython.run_"):
            for name in names:
                importlib.import_module(name)
            raise SystemExit(CHECKED)

    sys.addaudithook(instead)


def check(child):
    """In the first process: the frozen child has ended; a first thawing shows whether it works here."""
    _, status = os.waitpid(child, 0)
    code = ended_with(status)
    if code != 0:
        if not os.path.exists(os.path.join(HERE, "why")):
            tell(f"freezing it ended with {code}")
        return 1
    env = {"CUSP_WARM_CHECK": "1"}
    thaw, said = os.path.join(HERE, "thaw"), os.path.join(HERE, "said")
    errors = [(os.POSIX_SPAWN_OPEN, 2, said, os.O_WRONLY | os.O_CREAT, 0o644)]
    pid = os.posix_spawn(thaw, [thaw, *words_of("/proc/self/cmdline")], env, file_actions=errors)
    code = ended_with(watch(pid))
    if code != CHECKED:
        with open(said, encoding="utf-8", errors="replace") as f:
            tell(f"thawing it ended with {code}: {f.read()}")
        return 1
    return 0


def main():
    # As if this file were not there, also for what is imported from here on.
    while HERE in sys.path:
        sys.path.remove(HERE)
    sys.path_importer_cache.pop(HERE, None)
    sys.modules.pop("sitecustomize", None)
    ready = False
    try:
        names = [n for n in os.environ.get("CUSP_WARM_IMPORTS", "").split(",") if n]
        before, keeper = dict(os.environb), Keeper()
        import_all(names)
        keeper.fill()
        odd = odd_descriptors()
        if odd:
            raise RuntimeError("open files: " + ", ".join(odd))
        sys.stdout.flush()
        sys.stderr.flush()
        freeze(changes_since(before))
        ready = True
    except BaseException as e:
        if not ready:
            tell(e)
    if not ready:
        os._exit(1)
    if "CUSP_WARM_CHECK" in os.environ:
        end_as_a_trial(names)
    try:
        import sitecustomize  # the image's own
    except ImportError as e:
        if e.name != "sitecustomize":
            raise


main()
