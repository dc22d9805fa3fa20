"""How soon explore.py answers: from a control that moved to the image's bytes, through HTTP.

    python benchmarks/explore.py
    python benchmarks/explore.py --repeats 100 --kinds full --device cuda

Starts explore.py on networks with random weights, a narrow one of 32 px as `make demo` trains it
and one of full width and 128 px, and asks for one seed after the other, as Gradio's clients do:
a call, the stream that says when it is done, the image. Prints quantiles of the time, and the
server's CPU time for each image.
"""

import argparse
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import turns

KINDS = {
    "narrow": (32, {"channel_max": 40, "code_size": 64, "n_mlp": 2, "init_size": 8}),
    "full": (128, {"init_size": 8}),
}
MAKE = """
import sys
sys.path.insert(0, sys.argv[1])
from training.run import TrainState
from training.schedule import Config
TrainState(Config(max_size=int(sys.argv[3]), **eval(sys.argv[4]))).save(
    sys.argv[2], alpha=1.0, size=int(sys.argv[3]))
"""


def make_checkpoint(path: Path, kind: str) -> None:
    size, config = KINDS[kind]
    command = [sys.executable, "-c", MAKE, str(turns.ROOT), str(path), str(size), repr(config)]
    subprocess.run(command, check=True)


class Server:
    """explore.py on a checkpoint, in a folder of its own."""

    def __init__(self, checkpoint: Path, folder: Path, device: str):
        command = [sys.executable, str(turns.ROOT / "explore.py"), str(checkpoint), "--no_browser"]
        command += ["--device", device]
        pipe = {"stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=str(folder), **pipe)
        for line in self.process.stdout:
            found = re.search(r"http://([\d.]+):(\d+)", line)
            if found:
                break
        else:
            sys.exit("explore.py did not start")
        self.connection = http.client.HTTPConnection(found[1], int(found[2]), timeout=600)

    def ask(self, method: str, path: str, body=None) -> bytes:
        headers = {"Content-Type": "application/json"}
        self.connection.request(method, path, body and json.dumps(body), headers)
        answer = self.connection.getresponse()
        content = answer.read()
        assert answer.status == 200, (path, answer.status, content[:500])
        return content

    def image(self, checkpoint: str, seed: int, step: int) -> bytes:
        """A seed's image as the page's first tab shows it."""
        data = [checkpoint, seed, "", 0.7, step, -1, 1]
        event = json.loads(self.ask("POST", "/gradio_api/call/sample", {"data": data}))["event_id"]
        stream = self.ask("GET", f"/gradio_api/call/sample/{event}").decode()
        assert "event: complete" in stream, stream
        image, _ = json.loads(stream.rpartition("data: ")[2])
        png = self.ask("GET", "/gradio_api/file=" + image["path"])
        assert png.startswith(b"\x89PNG"), png[:100]
        return png

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


def measure(kind: str, args, folder: Path) -> None:
    """Prints the line of one network."""
    checkpoint = folder / f"{kind}.model"
    make_checkpoint(checkpoint, kind)
    server, size, seconds = Server(checkpoint, folder, args.device), KINDS[kind][0], []
    try:
        for seed in range(args.warm_up):
            server.image(checkpoint.name, seed, size.bit_length() - 3)
        before = server.cpu_seconds()
        for seed in range(args.warm_up, args.warm_up + args.repeats):
            start = time.perf_counter()
            server.image(checkpoint.name, seed, size.bit_length() - 3)
            seconds.append(time.perf_counter() - start)
        cpu = (server.cpu_seconds() - before) / args.repeats
    finally:
        server.end()
    seconds.sort()
    worst = seconds[min(int(0.95 * len(seconds)), len(seconds) - 1)]
    print(
        f"{kind}, {size} px: median {1000 * statistics.median(seconds):.0f} ms, least "
        f"{1000 * seconds[0]:.0f}, 95 % {1000 * worst:.0f}; {1000 * cpu:.0f} ms of CPU each",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--repeats", type=int, default=50, help="images (default 50)")
    parser.add_argument("--warm_up", type=int, default=5, help="images before (default 5)")
    parser.add_argument("--kinds", default="narrow,full", help="default narrow,full")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default cpu")
    args = parser.parse_args()
    threads = os.environ.get("OMP_NUM_THREADS", "as many as cores")
    print(f"{len(os.sched_getaffinity(0))} cores, OMP_NUM_THREADS {threads}")
    with tempfile.TemporaryDirectory() as folder:
        for kind in args.kinds.split(","):
            measure(kind, args, Path(folder))


if __name__ == "__main__":
    main()
