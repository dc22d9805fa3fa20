"""Adam with a step count per parameter, and the running average of weights."""

import math
from typing import Dict

import numpy as np

from backend import device
from operators import native
from operators.gradients import gradient_of_sum
from operators.processes import averaged

jt = device.load()


class Adam:
    """Adam with beta1 = 0 (Kingma & Ba 2015, algorithm 1): the first moment is the gradient itself
    and is not kept.

        v <- beta2 v + (1 - beta2) g^2
        p <- p - lr * g / (sqrt(v) / sqrt(1 - beta2^t) + eps)

    t counts the steps of each parameter on its own. In a growing network a level joins late; with
    one count for all, its first updates would be about ten times too large.
    """

    def __init__(self, parameters: Dict[str, "jt.Var"], lr_mult=None, beta2=0.99, eps=1e-8):
        """parameters by name; lr_mult: {name prefix: factor on the learning rate}."""
        self.parameters = parameters
        self.beta2, self.eps = beta2, eps
        self.steps = dict.fromkeys(parameters, 0)
        self.v = {}  # by name, from a parameter's first step on
        self.lr_mult = {
            name: math.prod([f for prefix, f in (lr_mult or {}).items() if name.startswith(prefix)])
            for name in parameters
        }

    def step(self, losses, names, lr: float) -> None:
        """One update of the named parameters along the gradient of the sum of all losses, given as
        lists of those that share activations; the other parameters keep value, moment and count.
        """
        names = list(names)
        gradients = averaged(gradient_of_sum(losses, [self.parameters[name] for name in names]))
        for name in names:
            if not self.steps[name]:  # its own memory from now on, which changes in place
                p = self.parameters[name]
                p.update(jt.array(p.numpy()))
                self.v[name] = jt.zeros(p.shape).stop_grad()
        rates = [lr * self.lr_mult[name] for name in names]
        corrections = [math.sqrt(1 - self.beta2 ** (self.steps[name] + 1)) for name in names]
        p, v = ([x[name] for name in names] for x in (self.parameters, self.v))
        jt.sync(p + v + gradients)
        for name in names:  # where that fails, nothing has changed
            self.steps[name] += 1
        if native.is_float32(*p):
            native.adam(p, v, gradients, rates, corrections, self.beta2, self.eps)
        else:
            self.step_by_jittor(p, v, gradients, rates, corrections)

    def step_by_jittor(self, parameters, moments, gradients, rates, corrections) -> None:
        """The update of `step`, one parameter after the other, in any precision."""
        for p, v, g, rate, correction in zip(parameters, moments, gradients, rates, corrections):
            new_v = self.beta2 * v + (1 - self.beta2) * g * g
            new_p = p - rate * g / (jt.sqrt(new_v) / correction + self.eps)
            v.update(new_v)
            p.update(new_p)
            jt.sync([p, v])

    def copy(self, names) -> tuple:
        """For `take_back`: counts, and the named parameters and their moments as they are now."""
        arrays = (
            {k: np.array(xs[k].numpy()) for k in names if k in xs}
            for xs in (self.parameters, self.v)
        )
        return (dict(self.steps), *arrays)

    def take_back(self, copy: tuple) -> None:
        """All steps since the `copy`."""
        self.steps = copy[0]
        for variables, arrays in zip((self.parameters, self.v), copy[1:]):
            for name, x in arrays.items():
                variables[name].update(jt.array(x))

    def state_dict(self) -> dict:
        """Counts and second moments by parameter name, as NumPy arrays."""
        v = {
            name: self.v[name].numpy() if name in self.v else np.zeros(p.shape, "float32")
            for name, p in self.parameters.items()
        }
        return {"step": dict(self.steps), "v": v}

    def load_state_dict(self, state: dict) -> None:
        """Takes what `state_dict` gave; the caller has checked names and shapes."""
        self.steps = {name: int(state["step"][name]) for name in self.parameters}
        self.v = {
            name: jt.array(np.array(state["v"][name], dtype="float32")).stop_grad()
            for name, steps in self.steps.items()
            if steps
        }
        jt.sync_all()


def average(running: Dict[str, "jt.Var"], parameters: Dict[str, "jt.Var"], names, decay) -> None:
    """Exponential moving average of the named ones, in place (ProGAN, section 4).

    running <- decay * running + (1 - decay) * parameters
    """
    running, parameters = ([x[name] for name in names] for x in (running, parameters))
    jt.sync(running + parameters)
    if native.is_float32(*running):
        native.average(running, parameters, 1 - decay)
        return
    for r, p in zip(running, parameters):
        r.update(r + (p.detach() - r) * (1 - decay))
        r.sync()
