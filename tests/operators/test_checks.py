"""Operators refuse what is not theirs before anything computes; what is theirs computes."""

import gc
import re

import numpy as np
import pytest

from operators import activations, convolution, native, norms, products, resampling, sums
from operators.convolution import jt

FLOATS = "float16 float32 float64"
IMAGE = {"x": "n c h w"}
STYLED = {**IMAGE, "bias": "c", "strength": "c", "noise": "1|n 1 h w", "style": "n 2c"}
PLAIN = {**STYLED, "bias": "1|n c 1 1", "strength": "1|n c 1 1"}
# Shapes as the docstrings have them: a letter is one size wherever it stands
OPERATORS = [  # function, shapes of its Vars, their dtypes, what else it takes
    (convolution.conv2d, {**IMAGE, "w": "o c k k"}, FLOATS, {"padding": (1, 2)}),
    (convolution.conv_transpose2d, {**IMAGE, "w": "c o k k"}, FLOATS, {"stride": 2, "padding": 1}),
    (convolution.blur_conv2d_avg_pool, {"x": "n c 2h 2w", "w": "o c 3 3"}, "float32", {}),
    (convolution.conv_transpose2d_blur, {**IMAGE, "w": "c o 3 3"}, "float32", {}),
    (convolution.upsample_conv2d_blur, {**IMAGE, "w": "o c 3 3"}, "float32", {}),
    (convolution.turn, {"w": "o c h w"}, FLOATS, {}),
    (products.linear, {"x": "n c", "w": "o c"}, FLOATS, {}),
    (activations.relu, {"x": "n ..."}, FLOATS, {}),
    (activations.leaky_relu, {"x": "n ..."}, FLOATS, {}),
    (activations.biased, {"x": "n c ...", "bias": "c"}, "float32", {"slope": 0.2}),
    (activations.styled_activation, STYLED, "float32", {"bias_is": "blurred"}),
    (activations.styled_activation_plain, PLAIN, FLOATS, {}),
    (norms.pixel_norm, {"x": "n c"}, "float32", {}),
    (norms.pixel_norm_plain, {"x": "n c"}, FLOATS, {}),
    (norms.minibatch_stddev, IMAGE, "float32", {}),
    (resampling.upsample2, IMAGE, FLOATS, {}),
    (resampling.avg_pool2, {"x": "n c 2h 2w"}, FLOATS, {}),
    (resampling.mean_of_neighbours, IMAGE, FLOATS, {}),
    (resampling.max_pool2d, IMAGE, FLOATS, {"kernel": 2, "stride": 2}),
    (sums.total, {"x": "n ..."}, FLOATS, {}),
    (sums.over_images, {"x": "n c", "y": "n c"}, FLOATS, {}),
    (sums.mean, {"x": "n ..."}, FLOATS, {}),
    (sums.repeated, {"x": "1 ..."}, FLOATS, {"n": 3}),
]


def right_shapes(shapes, rng) -> dict:
    """Sizes for all letters, each another, so that none stands for a second one."""
    letters = dict(zip("nchwo", map(int, rng.permutation(np.arange(4, 9)))), k=3)

    def size(axis):
        factor, letter = re.fullmatch(r"(?:1\|)?(\d*)(\w?)", axis).groups()
        return int(factor or 1) * (letters[letter] if letter else 1)

    return {
        argument: [size(axis) for axis in shape.split() if axis != "..."]
        for argument, shape in shapes.items()
    }


def agree(found, shapes) -> bool:
    """Whether sizes are those of the shapes: the letters of one are those of the others."""
    letters = {}
    for argument, shape in shapes.items():
        axes, sizes = shape.replace(" ...", "").split(), found[argument]
        if min(sizes) < 1 or len(sizes) < len(axes):
            return False
        if len(sizes) > len(axes) and "..." not in shape:
            return False
        for axis, size in zip(axes, sizes):
            one, factor, letter = re.fullmatch(r"(1\|)?(\d*)(\w?)", axis).groups()
            factor = int(factor or 1)
            if (one and size == 1) or (not letter and size == factor):
                continue
            if not letter or size % factor:
                return False
            if letter != "k" and letters.setdefault(letter, size // factor) != size // factor:
                return False
    return True


def changed(shape, rng) -> list:
    """Of another number of axes, or with another size."""
    shape, place = list(shape), int(rng.integers(len(shape)))
    change = rng.integers(4)
    if change == 0 and len(shape) > 1:
        shape.pop(place)
    elif change == 1:
        shape.insert(place, int(rng.integers(1, 9)))
    elif change == 2:
        shape[place] = int(rng.integers(3))
    else:
        shape[place] += int(rng.integers(1, 9))
    return shape


def wrong_arguments(shapes, dtypes, rng):
    """Vars, one of which is wrong, and its name: by its shape, its dtype, or as an array."""
    found = right_shapes(shapes, rng)
    name, why = str(rng.choice(list(shapes))), rng.integers(8)
    dtype, other = "float32", [d for d in "int32 uint8 bool float64".split() if d not in dtypes]
    if why == 0:
        dtype = str(rng.choice(other))
    while why > 1 and agree(found, shapes):
        found[name] = changed(right_shapes(shapes, rng)[name], rng)
    arguments = {k: jt.zeros(shape) for k, shape in found.items()}
    arguments[name] = np.zeros(found[name]) if why == 1 else jt.zeros(found[name], dtype)
    return arguments, name


def refused(function, *arguments, **named) -> str:
    """What it says; it has made no Var before, not even one that waits to be computed."""
    gc.disable()  # nor takes it away what was there before
    try:
        before = jt.liveness_info()["lived_vars"]
        with pytest.raises((TypeError, ValueError)) as error:
            function(*arguments, **named)
        assert jt.liveness_info()["lived_vars"] == before  # its frames live on in the error
    finally:
        gc.enable()
    return str(error.value)


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda row: row[0].__name__)
def test_wrong_shapes_are_refused(operator):
    """50 for each of 23 operators, and what each says: what was given, what is due."""
    function, shapes, dtypes, others = operator
    rng = np.random.default_rng(0)
    for _ in range(50):
        arguments, name = wrong_arguments(shapes, dtypes.split(), rng)
        said = refused(function, **arguments, **others)
        given, due = said.split(" was given, ")
        named = arguments[given.split(":")[0]]  # x may be what does not go with another
        assert f"{named.dtype} {tuple(named.shape)}" in given, (said, name)
        assert re.search(r"float32.* \(.*\) is due$", due), said


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda row: row[0].__name__)
def test_right_shapes_compute(operator):
    function, shapes, _, others = operator
    rng = np.random.default_rng(1)
    found = right_shapes(shapes, rng)
    assert agree(found, shapes)
    arrays = {k: rng.standard_normal(v).astype("float32") for k, v in found.items()}
    results = function(**{k: jt.array(v) for k, v in arrays.items()}, **others)
    for result in results if isinstance(results, tuple) else [results]:
        assert np.isfinite(result.numpy()).all()


X, W = (2, 3, 8, 8), (4, 3, 5, 5)
NUMBERS = {
    "a padding below 0": lambda: convolution.conv2d(jt.zeros(X), jt.zeros(W), -1),
    "half a padding": lambda: convolution.conv2d(jt.zeros(X), jt.zeros(W), 0.5),
    "a list as padding": lambda: convolution.conv2d(jt.zeros(X), jt.zeros(W), [1, 1]),
    "three paddings": lambda: convolution.conv2d(jt.zeros(X), jt.zeros(W), (1, 1, 1)),
    "a stride of 0": lambda: convolution.conv2d(jt.zeros(X), jt.zeros(W), stride=0),
    "a larger kernel": lambda: convolution.conv2d(jt.zeros((2, 3, 4, 8)), jt.zeros(W)),
    "nothing left": lambda: convolution.conv_transpose2d(jt.zeros(X), jt.zeros((3, 4, 2, 2)), 1, 5),
    "a stride below 0": lambda: convolution.conv_transpose2d(
        jt.zeros(X), jt.zeros(X[1:] * 2), -1, 0
    ),
    "no kernel": lambda: resampling.max_pool2d(jt.zeros(X), 0, 1),
    "more padding than kernel": lambda: resampling.max_pool2d(jt.zeros(X), 2, 2, 2),
    "a larger window": lambda: resampling.max_pool2d(jt.zeros(X), 9, 2),
    "groups below 0": lambda: norms.minibatch_stddev(jt.zeros(X), -2),
    "groups that do not fit": lambda: norms.minibatch_stddev(jt.zeros((6, 3, 4, 4)), 4),
    "no images": lambda: sums.repeated(jt.zeros((1, 3)), 0),
    "images below 0": lambda: sums.repeated(jt.zeros((1, 3)), -1),
    "an axis too many": lambda: sums.total(jt.zeros(X), 1, 4),
    "axes backwards": lambda: sums.total(jt.zeros(X), 3, 1),
    "no pixels": lambda: resampling.blurred_ones(0, 4),
    "half pixels": lambda: resampling.blurred_ones(4, 2.5),
    "another bias": lambda: activations.styled_activation(
        jt.zeros(X),
        jt.zeros(3),
        jt.zeros(3),
        jt.zeros((2, 1, 8, 8)),
        jt.zeros((2, 6)),
        bias_is="blur",
    ),
}


@pytest.mark.parametrize("call", NUMBERS)
def test_wrong_numbers_are_refused(call):
    with pytest.raises((TypeError, ValueError), match="is due|are due|nothing of x|no groups"):
        NUMBERS[call]()


def test_noise_for_all_images():
    """One map for all is what as many the same are."""
    shapes = right_shapes(STYLED, np.random.default_rng(0))
    given = {k: jt.randn(*v) for k, v in shapes.items()}
    given["noise"] = jt.randn(1, *given["x"].shape[1:])[:, :1]
    one = activations.styled_activation(**given).numpy()
    given["noise"] = given["noise"].broadcast([given["x"].shape[0], *given["noise"].shape[1:]])
    assert (activations.styled_activation(**given).numpy() == one).all()


@pytest.mark.parametrize(
    "wrong",
    [
        [jt.zeros(3), jt.zeros(5)],
        [jt.zeros(3)],
        [jt.zeros(3), jt.zeros(4).float64()],
        [jt.zeros(3), np.zeros(4, "float32")],
        jt.zeros((2, 3)),
    ],
    ids=["size", "number", "dtype", "array", "one Var"],
)
def test_updates_in_place_of_other_sizes(wrong):
    """Nothing changes where a list of arrays does not go with another."""
    values = [jt.ones(3), jt.ones(4)]
    jt.sync(values)
    updates = {
        "v": lambda: native.adam(values, wrong, values, [1, 1], [1, 1], 0.9, 1e-8),
        "g": lambda: native.adam(values, values, wrong, [1, 1], [1, 1], 0.9, 1e-8),
        "parameters": lambda: native.average(values, wrong, 0.5),
        "y": lambda: native.add_on_cuda(values, wrong),
    }
    for name, update in updates.items():
        with pytest.raises((TypeError, ValueError), match=rf"^{name}\b.* is due"):
            update()
    with pytest.raises(ValueError, match="1 rates"):
        native.adam(values, values, values, [1], [1, 1], 0.9, 1e-8)
    assert all((x.numpy() == 1).all() for x in values)
