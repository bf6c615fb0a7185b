"""Models on a GPU, which may be one in software."""

import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest

import vitraux


@pytest.fixture(scope="module")
def gpu():
    try:
        return vitraux.load("digits", device="gpu")
    except vitraux.Error as error:
        if error.kind != "no_device" or "VITRAUX_REQUIRE_GPU" in os.environ:
            raise
        pytest.skip(str(error))


def test_results_are_those_of_the_cpu(gpu, model, samples):
    assert not gpu.device.startswith("cpu")
    assert np.allclose(gpu.embed(samples), model.embed(samples), atol=1e-4)
    assert gpu.classify(samples[0])[0]["label"] == model.classify(samples[0])[0]["label"]


def test_a_forked_model_says_what_to_do(gpu, samples):
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("the system has no fork")
    gpu.embed(samples[0])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            gpu.embed(samples[0])
        except vitraux.Error as error:
            os.write(writer, f"{error.kind}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    message = os.read(reader, 1000).decode()
    assert message.startswith("argument: ") and "spawn" in message


# The system ends a child that hangs.
FORK = """
import os, signal, sys, vitraux
model = vitraux.load("digits", device="gpu")
model.embed(sys.argv[1])
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    signal.alarm(60)
    exec(sys.argv[2])
"""


@pytest.mark.parametrize("ending", ["pass", "del model", "model = vitraux.load('digits', device='cpu'); model.embed(sys.argv[1])"])
def test_a_fork_that_drops_its_parents_model_ends(gpu, samples, ending):
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("the system has no fork")
    ended = subprocess.run([sys.executable, "-c", FORK, samples[0], ending], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
