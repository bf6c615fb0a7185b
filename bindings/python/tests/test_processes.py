"""Threads, processes and interruptions."""

import multiprocessing
import os
import signal
import sys
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


def test_other_threads_run_while_a_model_computes(model, samples):
    pixels = np.repeat(model.preprocess(samples[0]), 2000, axis=0)
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
    model.embed(pixels)
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
