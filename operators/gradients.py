"""Gradients of a sum of losses, in the memory that one of them takes."""

from backend import device
from operators import native

jt = device.load()


def gradient_of_sum(losses, parameters) -> list:
    """Gradients of the sum of lists of losses, computed for one list after the other, so that there
    is memory for the activations of one. The losses lose their graphs, which would keep them.
    """
    summed = []
    for group in losses:
        loss = sum(group)
        with jt.no_grad():  # nobody differentiates these once more
            gradients = jt.grad(loss, parameters)
            at_once = not summed or (jt.flags.use_cuda and native.is_float32(*gradients))
            if not at_once:
                gradients = [sum_of(summed.pop(0), g) for g in gradients]
        for finished in [loss, *group]:
            finished.stop_grad()
        if at_once:
            jt.sync(gradients)
        for g in gradients:  # one by one: each sum takes the place of its terms
            g.sync(False, False)
        if summed:
            native.add_on_cuda(summed, gradients)
        summed = summed or gradients
    return summed


def sum_of(a, b):
    """a + b by the one kernel that serves all shapes."""
    return (a.reshape(-1) + b.reshape(-1)).reshape(a.shape)
