"""Adam with a step count per parameter, and the running average of weights."""

import math
from typing import Dict

import numpy as np

import device
from processes import averaged

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
        self.v = {name: jt.zeros(p.shape).stop_grad() for name, p in parameters.items()}
        self.lr_mult = {
            name: math.prod([f for prefix, f in (lr_mult or {}).items() if name.startswith(prefix)])
            for name in parameters
        }

    def step(self, loss, names, lr: float) -> None:
        """One update of the named parameters along the gradient of `loss`; the others keep value,
        moment and count.
        """
        names = list(names)
        gradients = averaged(jt.grad(loss, [self.parameters[name] for name in names]))
        for name, g in zip(names, gradients):
            g.stop_grad()  # else the new value holds on to the graph of all iterations before it
            self.steps[name] += 1
            p, v = self.parameters[name], self.v[name]
            correction = math.sqrt(1 - self.beta2 ** self.steps[name])
            v.update(self.beta2 * v + (1 - self.beta2) * g * g)
            p.update(p - lr * self.lr_mult[name] * g / (jt.sqrt(v) / correction + self.eps))

    def state_dict(self) -> dict:
        """Counts and second moments by parameter name, as NumPy arrays."""
        return {"step": dict(self.steps), "v": {name: v.numpy() for name, v in self.v.items()}}

    def load_state_dict(self, state: dict) -> None:
        """Takes what `state_dict` gave; the caller has checked names and shapes."""
        for name in self.parameters:
            self.steps[name] = int(state["step"][name])
            self.v[name].update(jt.array(np.asarray(state["v"][name], dtype="float32")))
        jt.sync_all()


def average(running: Dict[str, "jt.Var"], parameters: Dict[str, "jt.Var"], names, decay) -> None:
    """Exponential moving average of the named ones, in place (ProGAN, section 4).

    running <- decay * running + (1 - decay) * parameters
    """
    for name in names:
        r, p = running[name], parameters[name].detach()
        r.update(r + (p - r) * (1 - decay))
