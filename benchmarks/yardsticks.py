"""What the speed of training on a GPU is held against: what others have published, and a model of
what a GPU should take for the work that it is given. The model is no measurement.
"""

from typing import NamedTuple

# (what, on which GPU, images/s of training by size), from the seconds per thousand images that
# their authors give
PUBLISHED = (
    ("StyleGAN, NVIDIA's in TensorFlow", "V100", {256: 19.4, 512: 11.6, 1024: 7.0}),
    ("StyleGAN2 in StyleGAN3's code", "V100", {128: 80, 256: 48, 512: 14, 1024: 7.1}),
    ("StyleGAN2 in StyleGAN3's code", "A100", {128: 147, 256: 80, 512: 24, 1024: 11.1}),
    ("the PyTorch original, if batches of 32", "unnamed", {8: 343, 16: 192, 32: 64, 64: 45}),
)
PRECISIONS = ("float32", "tf32")


class Gpu(NamedTuple):
    """What its maker says of it: GB/s of memory, TFLOP/s in each precision, 0 where it has none."""

    name: str
    memory: float
    float32: float
    tf32: float


GPUS = (
    Gpu("H100 SXM", 3350, 66.9, 495),
    Gpu("A100 80 GB", 2039, 19.5, 156),
    Gpu("RTX 4090", 1008, 82.6, 82.6),
    Gpu("RTX 2080 Ti", 616, 13.4, 0),
)
# What of that is reached; guesses, and the reason for ERROR
MEMORY_REACHED, REACHED, LAUNCH = 0.7, {"float32": 0.6, "tf32": 0.35}, 4e-6  # s
ERROR = "± 50 %"


class Work(NamedTuple):
    """What a GPU is given. Bytes are those of memory read and written."""

    launches: float
    flops: float  # of convolutions and matrix products
    product_bytes: float
    other_bytes: float
    fixed_bytes: float  # of the others: what does not grow with the batch

    def of_batch(self, ratio: float) -> "Work":
        """With so many times the images."""
        others = (self.other_bytes - self.fixed_bytes) * ratio + self.fixed_bytes
        return Work(
            self.launches, self.flops * ratio, self.product_bytes * ratio, others, self.fixed_bytes
        )


def seconds(work: Work, gpu: Gpu, precision: str) -> float:
    """The model: products by arithmetic or memory, whichever takes longer, all else by memory, and
    for every kernel a launch. Infinite for a precision that the GPU does not have.
    """
    speed = getattr(gpu, precision) * 1e12 * REACHED[precision]
    memory = gpu.memory * 1e9 * MEMORY_REACHED
    if not speed:
        return float("inf")
    products = max(work.flops / speed, work.product_bytes / memory)
    return products + work.other_bytes / memory + work.launches * LAUNCH


def published(size: int) -> str:
    """What others have at a size, in a line; "" if nothing is known."""
    found = [(gpu, what, speeds[size]) for what, gpu, speeds in PUBLISHED if size in speeds]
    return ", ".join(f"{speed:g} ({what}, {gpu})" for gpu, what, speed in found)


def table(works: dict) -> list:
    """Lines of Markdown. works: {(size, batch): Work}"""
    lines = [
        f"**A model, not measured ({ERROR}):** ms an iteration, images/s.",
        "",
        "| size | batch | TFLOP | GPU | float32 | tf32 | published, images/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for (size, batch), work in works.items():
        head, others = f"{size} px | {batch} | {work.flops / 1e12:.3g}", published(size)
        for gpu in GPUS:
            times = [seconds(work, gpu, precision) for precision in PRECISIONS]
            cells = [f"{1e3 * t:.3g}, {batch / t:.3g}" if batch / t else "none" for t in times]
            lines.append(f"| {head} | {gpu.name} | {' | '.join(cells)} | {others} |")
            head, others = " | |", ""
    return lines


def published_table() -> list:
    """Lines of Markdown with all that others have published."""
    sizes = sorted({size for *_, speeds in PUBLISHED for size in speeds})
    lines = ["| | GPU | " + " | ".join(f"{size} px" for size in sizes) + " |"]
    lines.append("|---" * (2 + len(sizes)) + "|")
    for what, gpu, speeds in PUBLISHED:
        cells = " | ".join(f"{speeds[size]:g}" if size in speeds else "" for size in sizes)
        lines.append(f"| {what} | {gpu} | {cells} |")
    return lines
