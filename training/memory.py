"""How much memory a run will need on the CPU, and a warning where there may be less.

    bytes = STARTED + 4 * (WEIGHTS * all weights + STATES * trained weights
                           + IMAGES * batch * channels and pixels of all levels of one network)

The factors were fitted to measured peaks (`benchmarks/memory.py`); it is up to 18 % off, too far to
refuse a run.
"""

import sys

from backend import device, machine
from data.sizes import step_of
from training.schedule import Config, batch_advice, batch_at

STARTED = 115e6  # Python, Jittor, its kernels
WEIGHTS = 1.4
STATES = 2.5
IMAGES = 11.5


def weights(config: Config, channels, step: int) -> int:
    """Numbers in both networks up to a step, but biases, noise and layers of one pixel."""
    count = config.n_mlp * config.code_size**2 + 25 * channels[0] ** 2
    for i in range(step + 1):
        above = channels[i - 1] if i else 0
        count += 9 * channels[i] * (channels[i] + above)  # of the generator
        count += 4 * config.code_size * channels[i]
        count += 9 * above * (channels[i] + above)  # of the discriminator
    return count


def needed(config: Config, channels, size: int) -> float:
    """Bytes, at a size; channels: of each step (`model.widths`)."""
    step, batch = step_of(size), batch_at(config, size)
    pixels = sum(channels[i] * (4 * 2**i) ** 2 for i in range(step + 1))
    numbers = WEIGHTS * weights(config, channels, len(channels) - 1)
    numbers += STATES * weights(config, channels, step) + IMAGES * batch * pixels
    return STARTED + 4 * numbers


def check(config: Config, channels) -> str:
    """A line that says how much the run will need at its largest size; where the machine or its
    container has less, a warning on stderr too.
    """
    sizes = [config.first_size]
    while sizes[-1] < config.max_size:
        sizes.append(2 * sizes[-1])
    size = max(sizes, key=lambda size: needed(config, channels, size))
    most, available = needed(config, channels, size), machine.memory()
    text = f"about {most / 1e9:.1f} GB at {size} px in batches of {batch_at(config, size)}"
    smaller = batch_advice(config, size).replace("change", "choose a smaller") + ","
    if "--sched" in smaller:
        smaller = "leave --sched out, or choose a smaller"
    if available and most > available and device.rank() == 0:
        print(
            f"train.py: training may need {text}, there are {available / 1e9:.1f} GB: if they do "
            f"not suffice, {smaller} --max_size or --channel_max",
            file=sys.stderr,
        )
    return f"memory: {text}"
