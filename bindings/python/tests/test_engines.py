"""The examples on Ray and Spark with two workers, one of which is killed: every image is embedded once."""

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = Path(sys.executable).parent
OPTIONS = ["--model", "digits", "--device", "cpu", "--batch-size", "8"]
COUNT = 600

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are killed otherwise")


@pytest.fixture
def folder(samples, tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(COUNT):
        shutil.copy(samples[i % len(samples)], tmp_path / f"images/{i:04}.png")
    (tmp_path / "images/broken.png").write_bytes(b"no image")
    return tmp_path


def run(command, workers, lost, folder, **environment):
    """Run an engine and kill one of two processes that match `workers`, once they work: again, if the engine has not written `lost`, as the process had no task."""
    log = folder / "log"
    with open(log, "w") as file:
        engine = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **environment})
        kills, killed = 0, 0.0
        deadline = time.monotonic() + 180
        while engine.poll() is None and time.monotonic() < deadline:
            found = subprocess.run(["pgrep", "-f", workers], capture_output=True, text=True).stdout.split()
            if len(found) >= 2 and kills < 3 and time.monotonic() > killed + 0.5 and lost not in log.read_text():
                os.kill(int(found[-1]), signal.SIGKILL)
                kills, killed = kills + 1, time.monotonic()
            time.sleep(0.02)
        engine.kill()
    text = log.read_text()
    assert engine.returncode == 0, text
    assert lost in text


def check(folder, model, samples):
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = {Path(row["path"]).name: row for row in parquet.read_table(folder / "out").to_pylist()}
    assert parquet.read_table(folder / "out").num_rows == len(rows) == COUNT + 1
    assert rows.pop("broken.png")["error"]
    want = model.embed(samples)
    for name, row in rows.items():
        assert row["error"] == ""
        assert np.allclose(row["embedding"], want[int(name[:4]) % len(samples)], atol=1e-5)


def shards(folder, samples):
    """Write webdataset shards of the samples."""
    (folder / "shards").mkdir()
    for number in range(3):
        with tarfile.open(folder / f"shards/{number}.tar", "w") as shard:
            for i, sample in enumerate(samples):
                shard.add(sample, f"{number}{i}.png")
                label = tarfile.TarInfo(f"{number}{i}.cls")
                label.size = 1
                shard.addfile(label, io.BytesIO(str(i).encode()))
    return folder / "shards"


def check_shards(folder, model, samples):
    rows = pytest.importorskip("pyarrow.parquet").read_table(folder / "out_of_shards").to_pylist()
    want = model.embed(samples)
    assert sorted(row["__key__"] for row in rows) == [f"{number}{i}" for number in range(3) for i in range(len(samples))]
    for row in rows:
        assert row["cls"] == row["__key__"][1:].encode() and row["error"] == ""
        assert np.allclose(row["embedding"], want[int(row["__key__"][1:])], atol=1e-5)


def test_ray(folder, model, samples):
    pytest.importorskip("ray")
    ray = [SCRIPTS / "ray"]
    # As many processors as two workers and the tasks beside them take.
    start = [*ray, "start", "--head", "--num-cpus", "4", "--disable-usage-stats"]
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "RAY_AUTH_MODE": "disabled"})
    try:
        command = [sys.executable, EXAMPLES / "ray_embed.py", folder / "images", folder / "out", *OPTIONS]
        run(command, "ray::.*MapWorker", "died", folder, RAY_ADDRESS="auto", RAY_AUTH_MODE="disabled")
        command = [sys.executable, EXAMPLES / "ray_embed.py", shards(folder, samples), folder / "out_of_shards", *OPTIONS, "--webdataset", "png"]
        environment = {**os.environ, "RAY_ADDRESS": "auto", "RAY_AUTH_MODE": "disabled"}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=180)
    finally:
        subprocess.run([*ray, "stop", "--force"], stdout=subprocess.DEVNULL)
    check(folder, model, samples)
    check_shards(folder, model, samples)


def test_spark(folder, model, samples):
    pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    # Four attempts at each task.
    command = [SCRIPTS / "spark-submit", "--master", "local[2,4]", EXAMPLES / "spark_embed.py", folder / "images", folder / "out", *OPTIONS]
    run(command, "pyspark.daemon", "Lost task", folder, PYSPARK_PYTHON=sys.executable)
    check(folder, model, samples)
