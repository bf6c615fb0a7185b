"""Threads, processes and interruptions."""

import multiprocessing
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import vitraux


def embed(path):
    return vitraux.load("digits", device="cpu").embed(path)


def test_threads_share_a_model(model, samples):
    want = [model.embed(path) for path in samples]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            got = list(threads.map(model.embed, samples))
            assert all(np.array_equal(a, b) for a, b in zip(got, want))


@pytest.mark.parametrize("call", ["embed", "similarity"])
def test_other_threads_run_while_a_model_computes(model, clip, samples, call):
    pixels = np.repeat(model.preprocess(samples[0]), 2000, axis=0)
    vectors = np.repeat(clip.encode_text("a cat"), 4000, axis=0)
    calls = {"embed": lambda: model.embed(pixels), "similarity": lambda: clip.similarity(vectors, vectors)}
    turns = 0
    done = threading.Event()

    def count():
        nonlocal turns
        while not done.is_set():
            turns += 1
            time.sleep(0.001)

    counter = threading.Thread(target=count)
    counter.start()
    start = time.monotonic()
    calls[call]()
    seconds = time.monotonic() - start
    done.set()
    counter.join()
    assert turns > 20 * seconds


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_load_models_of_their_own(model, samples, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("the system has no fork")
    want = model.embed(samples[0])
    with multiprocessing.get_context(method).Pool(2) as pool:
        for got in pool.map(embed, [samples[0]] * 4):
            assert np.array_equal(got, want)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_model_on_the_cpu_survives_a_fork(model, samples):
    want = model.embed(samples[0])
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if np.array_equal(model.embed(samples[0]), want) else 1)
        finally:
            os._exit(2)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child hangs")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise")
@pytest.mark.parametrize("call", ["embed", "embed_each", "preprocess", "forward"])
def test_ctrl_c_ends_a_long_call(model, samples, call):
    images = [samples[0]] * 200_000
    pixels = np.repeat(model.preprocess(samples[0]), 50_000, axis=0)
    calls = {
        "embed": lambda: model.embed(images),
        "embed_each": lambda: model.embed(images, return_errors=True),
        "preprocess": lambda: model.preprocess(images),
        "forward": lambda: model.forward(pixels, outputs=["logits"]),
    }
    # A process in the background inherits that the signal is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        calls[call]()
    assert time.monotonic() - start < 3


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="needs a free-threaded interpreter")
def test_the_interpreter_stays_free_threaded():
    script = "import sys, vitraux; print(sys._is_gil_enabled())"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    assert subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True).stdout == "False\n"


def test_threads_load_and_run_at_the_same_time(samples):
    # Loading, the first pass of each session and errors, all at the same time.
    start = threading.Barrier(8)

    def run(i):
        start.wait()
        model = vitraux.load("digits", device="cpu")
        vectors = [model.embed(samples) for _ in range(20)]
        with pytest.raises(vitraux.Error):
            model.embed(b"no image")
        return vectors

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(run, range(8)))
    assert all(np.array_equal(vectors, results[0][0]) for result in results for vectors in result)
