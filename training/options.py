"""The options of train.py, in the groups of its --help; those of `Config` come from a checkpoint
where they are not given.
"""

import argparse
import dataclasses

from backend import device
from backend.terminal import Parser, UsageError, number, seed_number
from data.heldout import heldout_amount
from data.sizes import image_size
from training.schedule import (
    AUGMENTATIONS,
    COLOURING,
    LISTS,
    LOSS_NAMES,
    TURNING,
    Config,
    batches_of,
    names_in,
)

LARGEST_BATCH = 2**16  # images
FITTING = "fitting"  # of `augment`, until the other options are known


def configuration(args, base: Config) -> Config:
    """The options given, over `base`."""
    names = [f.name for f in dataclasses.fields(Config)]
    given = {n: getattr(args, n) for n in names if getattr(args, n, None) is not None}
    config = dataclasses.replace(base, **given)
    if config.init_size > config.max_size:
        raise UsageError(
            f"--init_size {config.init_size} is above --max_size {config.max_size}: images grow"
        )
    if config.r1_every > 1 and config.loss != "r1":
        raise UsageError(f"--r1_every goes with --loss r1, not {config.loss}: leave one out")
    if config.augment == FITTING:
        config = dataclasses.replace(config, augment=fitting_augmentations(config))
    if getattr(args, "augment_images", None) and not config.augment:
        raise UsageError("--augment_images goes with --augment only")
    for name in set(names_in(config.augment)) & set(COLOURING):
        if config.grey:
            raise UsageError(f"--augment_with {name} makes colours, --grey has none: leave it out")
    return config


def fitting_augmentations(config: Config) -> str:
    """All but those that make colours of grey, and that turn pictures where none is mirrored."""
    left_out = (*(() if config.flip else TURNING), *(COLOURING if config.grey else ()))
    return ",".join(name for name in AUGMENTATIONS if name not in left_out)


def name_list(field: str, due: str):
    """Parser type of a field of LISTS: names of it, comma-separated, as Config has them. due: what
    they are, in an error's words.
    """

    def parse(text):
        given = set(text.split(","))
        unknown = given - set(LISTS[field])
        if unknown:
            raise argparse.ArgumentTypeError(f"{min(unknown)[:40]!r} is not {due}")
        return ",".join(name for name in LISTS[field] if name in given)

    return parse


def batch_list(text: str) -> str:
    """Parser type of `batch_at`: SIZE:IMAGES, comma-separated, as Config has them."""
    try:
        found = batches_of(text)
    except ValueError:
        found = {}
    if not found or max(found.values()) > LARGEST_BATCH:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is no list of sizes and images, each size once, such as 8:64,64:8"
        )
    return ",".join(f"{size}:{images}" for size, images in found.items())


def option(group, flag: str, text: str, **kwargs) -> None:
    """An option of Config; None by default, to tell given ones from a checkpoint's."""
    default = getattr(Config, kwargs.get("dest", flag.lstrip("-")))
    shown = "none" if default == "" else default
    group.add_argument(flag, help=f"{text} (default {shown})", **kwargs)


def switch(group, flag: str, text: str, dest=None) -> None:
    """A switch of Config: turns `dest` off, or what has the switch's own name on."""
    action = "store_false" if dest else "store_true"
    group.add_argument(flag, help=text, action=action, dest=dest or flag.lstrip("-"), default=None)


def add_network_options(p) -> None:
    g = p.add_argument_group("networks")
    option(g, "--code_size", "size of z and w, 1 to 8192", type=number(int, 1, 8192))
    option(g, "--n_mlp", "layers of the mapping network, 1 to 100", type=number(int, 1, 100))
    option(
        g, "--channel_max", "widest level, 1 to 512; fewer train faster", type=number(int, 1, 512)
    )
    text = "no activation after from_rgb, as in the original's first version"
    switch(g, "--no_from_rgb_activate", text, "from_rgb_activate")


def add_optimisation_options(p) -> None:
    g = p.add_argument_group("optimisation")
    batch, rate = number(int, 1, LARGEST_BATCH), number(float, 0.0)
    option(g, "--loss", "GAN loss", choices=LOSS_NAMES)
    option(g, "--gp_weight", "weight of either loss's gradient penalty, from 0", type=rate)
    text = "R1's penalty in every K-th iteration alone, K times as strong (StyleGAN2), from 1"
    option(g, "--r1_every", text, metavar="K", type=number(int, 1))
    switch(g, "--mixing", "mixing regularisation: two styles in nine of ten iterations")
    option(g, "--lr", "learning rate, from 0", type=rate)
    option(g, "--mapping_lr_mult", "factor on it for the mapping network, from 0", type=rate)
    text = "images per iteration, 1 to 65536; --sched has its own"
    option(g, "--batch_default", text, type=batch)
    text = "the same of some sizes, before all else, such as 8:64,64:8"
    option(g, "--batch_at", text, metavar="SIZE:N,..", type=batch_list)
    switch(g, "--sched", "the original's learning rates and batches by size")
    option(g, "--ema", "decay per iteration of the average, 0 to 1", type=number(float, 0.0, 1.0))
    text = "let half of the average's weight be at most this share of the images seen old, 0 to 1, "
    text += "0 for any (StyleGAN2-ADA: 0.05)"
    option(g, "--ema_rampup", text, metavar="SHARE", type=number(float, 0.0, 1.0))
    switch(g, "--grey", "one channel, three times: for pictures without colours")
    either = g.add_mutually_exclusive_group()
    switch(either, "--no_flip", "do not mirror images at random", "flip")
    switch(either, "--flip", "mirror them, as is the default, where a checkpoint's run did not")
    text = "keep N pictures, below 1 that share, out of training, the same ones in every run: "
    text += "log.jsonl tells how D scores them, --metrics_every measures against them"
    option(g, "--heldout", text, metavar="N|SHARE", type=heldout_amount)
    option(g, "--seed", "everything random follows from it, 0 to 2^64 - 1", type=seed_number)


def add_run_options(p) -> None:
    g = p.add_argument_group("run")
    count = number(int, 1)
    text = (
        "checkpoint to go on from, with its options; latest: that of the highest iteration here "
        "that is not damaged; auto: the same, or a new run where there is none"
    )
    g.add_argument("--ckpt", metavar="FILE|latest|auto", help=text)
    text = "let other options and another number of pictures replace the checkpoint's; the size "
    text += "that it has reached and how far it has faded in stay"
    g.add_argument("--override", action="store_true", help=text)
    text = "with --ckpt of train.py: begin a stage of that size, to fine-tune what it has learned "
    text += "(fully grown), or with the next (fading in)"
    g.add_argument("--restart_at", metavar="SIZE", type=image_size, help=text)
    text = "iterations from one checkpoint to the next, from 1 (default 10000)"
    g.add_argument("--save_every", metavar="N", type=count, default=10_000, help=text)
    text = (
        "keep only the newest K of those; train_step-* and the one gone on from stay (default all)"
    )
    g.add_argument("--keep", metavar="K", type=count, help=text)
    text = "minutes without a checkpoint until the run is kept in rolling.model, where latest "
    text += "finds it, until the next; 0 for never (default 30)"
    g.add_argument("--save_minutes", metavar="N", type=number(float, 0.0), default=30.0, help=text)
    text = "iterations from one sample to the next, from 1 (default 100)"
    g.add_argument("--sample_every", metavar="N", type=count, help=text)
    g.add_argument("--expname", metavar="NAME", help="write below the folder NAME instead of here")
    device.add_options(g)
    text = "on CUDA too the same bits each time, on GPUs of one model: only cuDNN's deterministic "
    text += (
        "algorithms, none of them tried for speed; not with --plain (a CPU needs no such option)"
    )
    g.add_argument("--deterministic", action="store_true", help=text)


def add_tuning_options(p) -> None:
    g = p.add_argument_group("beginning with a network that exists (docs/resume.md)")
    text = "begin a run with the networks and the average of --ckpt FILE, whoever wrote it, at its "
    text += "size, fully grown, with new optimiser states and a count from 0"
    g.add_argument("--tune", action="store_true", help=text)
    text = "with --tune, also of a generator alone: a new discriminator, which K iterations train "
    text += "before both are trained, from 1"
    g.add_argument("--new_discriminator", metavar="K", type=number(int, 1), help=text)
    text = "keep the discriminator's layers of these sizes as they are (FreezeD, Mo et al. 2020)"
    size = "a size: powers of two from 4 to 1024"
    g.add_argument("--freeze_d", metavar="SIZE,..", type=name_list("freeze_d", size), help=text)
    text = "keep the generator's mapping network, or its layers of these sizes, as they are"
    parts = name_list("freeze_g", f"mapping or {size}")
    g.add_argument("--freeze_g", metavar="mapping|SIZE,..", type=parts, help=text)


def add_augmentation_options(p) -> None:
    g = p.add_argument_group("augmentation of what the discriminator sees (docs/few.md)")
    either = g.add_mutually_exclusive_group()
    text = "transform pictures and images alike before they are scored, each with a probability "
    text += "that rises from 0 while pictures are learned by heart (StyleGAN2-ADA): in all ways of "
    text += "the next option, but flip and rotate with --no_flip, hue and saturation with --grey"
    kwargs = {"action": "store_const", "default": None}
    either.add_argument("--augment", const=FITTING, help=text, **kwargs)
    text = f"in these ways alone: {','.join(AUGMENTATIONS)}"
    ways = name_list("augment", f"one of {', '.join(AUGMENTATIONS)}")
    either.add_argument("--augment_with", dest="augment", metavar="NAMES", type=ways, help=text)
    text = "not at all, where the checkpoint's run did (with --override)"
    either.add_argument("--no_augment", dest="augment", const="", help=text, **kwargs)
    text = "images in which the probability can rise from 0 to 1, from 1"
    option(g, "--augment_images", text, metavar="N", type=number(int, 1))


def run_parser(description=None) -> Parser:
    p = Parser(description)
    p.add_argument("path", help="LMDB or tree of sizes made by prepare_data.py")
    count = number(int, 1)
    g = p.add_argument_group("growth")
    option(g, "--init_size", "size in pixels to start with, 4 to 1024", type=image_size)
    option(g, "--max_size", "size to grow to, 4 to 1024", type=image_size)
    option(g, "--phase", "images to fade a size in; a stage lasts twice that", type=count)
    text = "stop after this many iterations in all, from 1 (default 3000000)"
    g.add_argument("--max_iters", type=count, default=3_000_000, help=text)
    add_network_options(p)
    add_optimisation_options(p)
    add_run_options(p)
    add_tuning_options(p)
    add_augmentation_options(p)
    return p
