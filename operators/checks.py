"""What the entrances of operators and networks ask of their arguments: kernels get bare pointers,
and broadcasting makes something else of a wrong shape. Reads shapes and dtypes; computes nothing.

A shape is written as the docstrings have it: numbers, letters for any size from 1 on, "2h" for any
even one, a tuple for one of several numbers, `...` at the end for any more axes. Both what was
given and what is due are named, in a TypeError (no Var, or of another dtype) or a ValueError.
"""

import math
import sys
from numbers import Integral, Real

FLOATS = ("float16", "float32", "float64")
FLOAT32 = ("float32",)
IMAGES = ("n", "c", "h", "w")
# Whole numbers that make a network: the least and the most of each
SETTINGS = {
    "code_dim": (1, None),
    "n_mlp": (0, None),
    "channel_max": (1, None),
    "noise_maps": (1, 2),
    "labels": (0, None),
    "stddev_group": (0, None),
    "bias_after_blur": (0, 1),
}


def expect(x, name: str, shape, dtypes=FLOATS):
    """Raises where x, which the caller knows by that name, is no Var of such a dtype and shape, or
    of one of a list of shapes. Returns its shape.
    """
    shapes = shape if isinstance(shape, list) else [shape]
    if not isinstance(x, sys.modules["jittor"].Var):
        raise TypeError(difference(x, name, shapes, dtypes))
    found = x.shape
    if str(x.dtype) not in dtypes:
        raise TypeError(difference(x, name, shapes, dtypes))
    for one in shapes:
        if fits(found, one):
            return found
    raise ValueError(difference(x, name, shapes, dtypes))


def fits(found, shape) -> bool:
    """Whether sizes are those of a shape as written above."""
    if shape[-1] is ...:
        shape = shape[:-1] + ("any",) * (len(found) - len(shape) + 1)
    if len(found) != len(shape):
        return False
    for size, due in zip(found, shape):
        if size == due:
            continue
        if isinstance(due, str):
            if size < 1 or (due[0] == "2" and size % 2):
                return False
        elif isinstance(due, int) or size not in due:
            return False
    return True


def difference(x, name: str, shapes, dtypes) -> str:
    """The sentence that says what was given and what is due."""
    due = f"{' or '.join(dtypes)} {' or '.join(map(written, shapes))}"
    return f"{name}: {described(x)} was given, {due} is due"


def described(x) -> str:
    """The dtype and shape of what was given, and its type where it is no Var."""
    array = f"{x.dtype} {written(x.shape)}" if hasattr(x, "shape") and hasattr(x, "dtype") else ""
    if isinstance(x, sys.modules["jittor"].Var):
        return array
    return f"no jittor.Var but {type(x).__module__}.{type(x).__name__} {array}".rstrip()


def shown(value) -> str:
    """A number, text or several as given, of all else the type: nothing is computed to be shown."""
    plain = (str, Real, type(None))
    several = isinstance(value, (list, tuple)) and all(isinstance(x, plain) for x in value)
    return repr(value)[:60] if several or isinstance(value, plain) else type(value).__name__


def written(shape) -> str:
    """(n, 1 or 2, 8, 8)"""

    def size(due):
        if isinstance(due, tuple):
            return " or ".join(map(str, sorted(set(due))))
        return "..." if due is ... else str(due)

    return f"({', '.join(map(size, shape))}{',' if len(shape) == 1 else ''})"


def expect_each(arrays, name: str, shapes, dtypes=FLOATS) -> list:
    """The same of a list of Vars, one for each shape; where the shapes begin with a letter it
    stands for one size in all. Returns their shapes.
    """
    if not isinstance(arrays, (list, tuple)) or len(arrays) != len(shapes):
        found, error = described(arrays), TypeError
        if isinstance(arrays, (list, tuple)):
            found, error = (
                f"a list of {len(arrays)}: {', '.join(map(described, arrays))}",
                ValueError,
            )
        due = ", ".join(map(written, shapes))
        dtypes = " or ".join(dtypes)
        raise error(f"{name}: {found} was given, a list of {len(shapes)} is due: {dtypes} {due}")
    found = []
    for i, (x, shape) in enumerate(zip(arrays, shapes)):
        if i and isinstance(shape[0], str):
            shape = (found[0][0], *shape[1:])
        found.append(expect(x, f"{name}[{i}]", shape, dtypes))
    return found


def expect_label(label, labels: int, n: int) -> None:
    """Raises where n images have no label each, (n, labels), or one before what knows none, 0."""
    if labels:
        expect(label, "label", (n, labels))
    elif label is not None:
        raise ValueError(f"label: {described(label)} was given to a network without labels")


def expect_alike(arrays, **others) -> None:
    """Raises where lists of Vars, given by name, are not float32 of the shapes of `arrays`."""
    if all(are_alike(arrays, xs) for xs in (arrays, *others.values())):
        return
    shapes = [tuple(expect(x, "arrays", (...,), FLOAT32)) for x in arrays]
    for name, xs in others.items():
        expect_each(xs, name, shapes, FLOAT32)


def are_alike(arrays, others) -> bool:
    """Whether both are lists of float32 Vars of the same shapes."""
    var = sys.modules["jittor"].Var
    if len(arrays) != len(others):
        return False
    for a, b in zip(arrays, others):
        if not (isinstance(a, var) and isinstance(b, var) and a.shape == b.shape):
            return False
        if str(b.dtype) != "float32":
            return False
    return True


def expect_room(x, name: str, kernel, padding):
    """Raises where x is no images in which a kernel (k, k') has a place. Returns the shape of x.

    padding: zeros around them, one number or (above and below, left and right).
    """
    shape = expect(x, name, IMAGES)
    paddings = padding if isinstance(padding, tuple) else (padding, padding)
    if len(paddings) != 2:
        raise ValueError(f"padding: {len(paddings)} numbers were given, one or two are due")
    for number in paddings:
        expect_integer(number, "padding", 0)
    least = [max(1, k - 2 * p) for k, p in zip(kernel, paddings)]
    if any(size < smallest for size, smallest in zip(shape[2:], least)):
        due = ("n", "c", *(f"{smallest} or more" for smallest in least))
        raise ValueError(difference(x, name, [due], FLOATS))
    return shape


def expect_integer(value, name: str, least: int, most=None) -> None:
    """Raises where it is no whole number from `least` to `most`."""
    due = f"an integer from {least} {'on' if most is None else f'to {most}'} is due"
    if not isinstance(value, (int, Integral)):
        raise TypeError(f"{name}: {shown(value)} was given, {due}")
    if value < least or (most is not None and value > most):
        raise ValueError(f"{name}: {value} was given, {due}")


def expect_growth(step, alpha, last: int, n: int = 1) -> range:
    """Raises where a step is not one of 0 to `last`, alpha neither a number nor None, or n no
    number of images. Returns the levels of the step.
    """
    expect_integer(step, "step", 0, last)
    expect_integer(n, "n", 1)
    if not (alpha is None or isinstance(alpha, (float, Real))):
        raise TypeError(f"alpha: {type(alpha).__name__} was given, a number or None is due")
    if alpha != alpha:
        raise ValueError("alpha: NaN was given, a number or None is due")
    return range(step + 1)


def expect_number(value, name: str, least=-math.inf) -> None:
    """Raises where it is no finite number from `least` on."""
    due = "a finite number" + (f" from {least} on" if least > -math.inf else "") + " is due"
    if not isinstance(value, (float, Real)):
        raise TypeError(f"{name}: {shown(value)} was given, {due}")
    if not (math.isfinite(value) and value >= least):
        raise ValueError(f"{name}: {value} was given, {due}")


def expect_settings(**settings) -> None:
    """Raises where a network cannot be made with one of them, given by name."""
    for name, value in settings.items():
        if name == "norm_eps":
            expect_number(value, name, 0)
        else:
            expect_integer(value, name, *SETTINGS[name])


def expect_mixing(latents, step: int, last: int, mixing_range, crossover, style_weight) -> list:
    """Raises where a range of levels is none of 0 to `last`, nor (-1, -1) for none; a crossover no
    level of the step, nor None; a weight no number. Returns the latents, or the one, as a list.
    """
    expect_number(style_weight, "style_weight")
    try:
        low, high = mixing_range
        fits = isinstance(low, Integral) and isinstance(high, Integral)
    except (TypeError, ValueError):
        fits = False
    if not fits or not ((low, high) == (-1, -1) or 0 <= low <= high <= last):
        due = f"two levels, the first and the last of 0 to {last}, or (-1, -1) are due"
        raise ValueError(f"mixing_range: {shown(mixing_range)} was given, {due}")
    if crossover is not None:
        expect_integer(crossover, "crossover", 0, step)
    latents = list(latents) if isinstance(latents, (list, tuple)) else [latents]
    if len(latents) > 1 and step == 0 and low < 0 and crossover is None:
        raise ValueError("mixing_range: none was given, at 4x4 one is due for two latents")
    return latents


def expect_module(value, name: str) -> None:
    """Raises where it is no network or layer."""
    if not isinstance(value, sys.modules["jittor"].nn.Module):
        given = value.__name__ if isinstance(value, type) else type(value).__name__
        raise TypeError(f"{name}: {given} was given, a network, made of its class, is due")
