"""The PyTorch original's networks under the steps of its train.py, on any device and as narrow as
one likes, for what is measured beside it. Runs in an interpreter that has PyTorch.
"""


def narrowed(model, most: int):
    """Discriminator and StyledGenerator of its module `model` with at most so many channels a
    level.
    """

    def fewer(channels):  # 513: with the one of minibatch stddev
        return min(channels, most + 1 if channels in (513, most + 1) else most)

    def narrow(kind):
        return lambda c_in, c_out, *rest, **named: kind(fewer(c_in), fewer(c_out), *rest, **named)

    for name in ("StyledConvBlock", "ConvBlock", "EqualConv2d"):
        setattr(model, name, narrow(getattr(model, name)))

    def discriminator():
        made = model.Discriminator()
        made.linear = model.EqualLinear(fewer(512), 1)
        return made

    return discriminator, model.StyledGenerator


class Original:
    """Networks, running average and optimisers, as its train.py sets them up; R1."""

    def __init__(self, torch, channel_max: int, where: str = "cpu"):
        """torch: with the original's folder on the path, see `turns.load_torch`."""
        import model

        self.torch, self.where = torch, torch.device(where)
        Discriminator, StyledGenerator = narrowed(model, channel_max)
        self.generator = StyledGenerator(512).to(self.where)
        self.discriminator = Discriminator().to(self.where)
        self.running = StyledGenerator(512).to(self.where)
        self.running.load_state_dict(self.generator.state_dict())
        adam = {"lr": 0.001, "betas": (0.0, 0.99)}
        mapping = {"params": self.generator.style.parameters(), "lr": 1e-5}
        groups = [{"params": self.generator.generator.parameters()}, mapping]
        self.g_optimizer = torch.optim.Adam(groups, **adam)
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), **adam)

    def fakes(self, n: int, step: int, alpha: float, mixing: bool):
        """(n, 3, size, size)"""
        z = [self.torch.randn(n, 512, device=self.where) for _ in range(1 + mixing)]
        return self.generator(z, step=step, alpha=alpha)

    def iteration(self, real, step: int, alpha: float, mixing: bool) -> None:
        """One step of each network and of the average. real (n, 3, size, size)"""
        from torch.nn.functional import softplus

        def score(images):
            return self.discriminator(images, step=step, alpha=alpha)

        def train(trained, other):
            trained.zero_grad()
            trained.requires_grad_(True)
            other.requires_grad_(False)

        n = len(real)
        train(self.discriminator, self.generator)
        real = real.to(self.where).requires_grad_(True)
        scores = score(real)
        softplus(-scores).mean().backward(retain_graph=True)
        (slope,) = self.torch.autograd.grad(scores.sum(), real, create_graph=True)
        (10 / 2 * (slope.reshape(n, -1).norm(2, dim=1) ** 2).mean()).backward()
        softplus(score(self.fakes(n, step, alpha, mixing))).mean().backward()
        self.d_optimizer.step()

        train(self.generator, self.discriminator)
        softplus(-score(self.fakes(n, step, alpha, mixing))).mean().backward()
        self.g_optimizer.step()
        with self.torch.no_grad():
            for average, p in zip(self.running.parameters(), self.generator.parameters()):
                average.mul_(0.999).add_(p, alpha=1 - 0.999)
