"""Runs the same models, weights and inputs through vitraux and what a user would pick instead, and prints a Markdown table.

    python run.py FOLDER [--models …] [--peers …] [--batches 1 8] [--rounds 5] [--python ort-webgpu venv-webgpu/bin/python]

FOLDER is what models.py made. Every peer is a process of its own that has loaded its model; in each round each of them runs once,
one after the other, while the others are stopped, so that all see the same machine. The first two answers of each are not counted.
Given are medians, and their ratios to the row of vitraux on the same kind of device.
"""
import argparse, atexit, datetime, os, platform, signal, statistics, subprocess, sys

here = os.path.dirname(os.path.abspath(__file__))
root = os.path.dirname(os.path.dirname(here))
CPU = ["vitraux-cpu", "ort-cpu", "openvino", "ncnn-cpu", "torch-cpu", "candle"]
GPU = ["vitraux-gpu", "ncnn-vulkan", "ort-webgpu"]

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--models", nargs="+", default=["vit_tiny_patch16_224", "vit_base_patch16_224"])
parser.add_argument("--peers", nargs="+", default=CPU + GPU)
parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--python", nargs=2, action="append", default=[], metavar=("PEER", "PYTHON"), help="another interpreter for a peer")
options = parser.parse_args()


class Peer:
    """A worker process; `name` is what it says it is."""

    def __init__(self, peer, folder):
        kind, _, device = peer.partition("-")
        if kind == "vitraux":
            command = [os.path.join(root, "target", "release", "examples", "peer"), device, folder]
        elif kind == "candle":
            command = [os.path.join(here, "candle", "target", "release", "candle-peer"), folder]
        else:
            command = [dict(options.python).get(peer, sys.executable), os.path.join(here, "worker.py"), peer, folder]
        self.peer, self.times, self.difference = peer, [], 0.0
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        atexit.register(self.process.kill)  # a stopped process would outlive this one
        self.name = self.answer("ready")

    def answer(self, word):
        for line in self.process.stdout:
            if line.startswith(word + " "):
                return line[len(word) + 1 :].strip()
        raise RuntimeError(f"{self.peer} has ended with {self.process.wait()}")

    def run(self, batch):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(f"{batch}\n")
        self.process.stdin.flush()
        milliseconds, difference = map(float, self.answer("answer").split())
        # Threads that wait for more work would else take the cores from the next peer: those of ONNX Runtime halve its speed.
        self.process.send_signal(signal.SIGSTOP)
        self.times.append(milliseconds)
        self.difference = max(self.difference, difference)


def measure(model, batch):
    peers = []
    for peer in options.peers:
        try:
            peers.append(Peer(peer, os.path.join(options.folder, model)))
        except (RuntimeError, OSError) as error:
            print(f"left out: {error}", file=sys.stderr)
    for round in range(2 + options.rounds):
        for peer in list(peers):
            try:
                peer.run(batch)
            except RuntimeError as error:
                print(f"left out: {error}", file=sys.stderr)
                peers.remove(peer)
    medians = {peer.peer: statistics.median(peer.times[2:]) for peer in peers}
    print(f"\n{model}, batch {batch}, {options.rounds} rounds:\n\n| | median ms | fastest ms | images/s | as a multiple of vitraux | largest difference |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for peer in peers:
        own = medians.get("vitraux-gpu" if peer.peer in GPU or "cuda" in peer.peer else "vitraux-cpu")
        ratio = f"{medians[peer.peer] / own:.2f}" if own else ""
        median = medians[peer.peer]
        print(f"| {peer.name} ({peer.peer}) | {median:.1f} | {min(peer.times[2:]):.1f} | {batch / median * 1e3:.1f} | {ratio} | {peer.difference:.1e} |", flush=True)
        peer.process.stdin.close()
        peer.process.send_signal(signal.SIGCONT)
        peer.process.wait()


print(f"{datetime.date.today()}, {os.cpu_count()} cores, {platform.machine()}, f32; `python benches/peers/run.py {' '.join(sys.argv[1:])}`")
devices = subprocess.run([os.path.join(root, "target", "release", "vitraux"), "devices"], capture_output=True, text=True).stdout
print("Devices: " + "; ".join(devices.split("\n")).strip("; "))
for model in options.models:
    for batch in options.batches:
        measure(model, batch)
