"""The two GAN losses: small functions of scores and images.

`score` stands for the discriminator at one step and alpha, and for what it sees: (images (n, 3, h,
w), "real", "fake" or "between") -> scores (n, 1). A discriminator loss comes in three terms (real,
fake, penalty), to be summed. Penalties go by images as they were before the discriminator saw them.
"""

from backend import device
from operators.sums import mean, total

jt = device.load()


def softplus(x):
    """log(1 + e^x), safe for large |x|."""
    return jt.maximum(x, 0.0) + jt.log(1 + jt.exp(-jt.abs(x)))


def squared_gradient_norm(scores, images):
    """||d score / d image||^2 of each image -> (n,); stays differentiable with respect to the
    parameters.
    """
    gradient = jt.grad(scores.sum(), images)
    return total(gradient * gradient, 1)


def r1_discriminator(score, real, fake, gamma: float = 10.0, eps=None):
    """Non-saturating loss with R1 (Mescheder et al. 2018, equation 9): gamma / 2 * mean ||grad
    score(real)||^2, which is not computed for a gamma of 0.
    """
    real = real.clone()
    scores = score(real, "real")
    penalty = gamma / 2 * mean(squared_gradient_norm(scores, real)) if gamma else jt.zeros(1)
    return mean(softplus(-scores)), mean(softplus(score(fake, "fake"))), penalty


def r1_generator(scores):
    """Non-saturating: softplus(-score)."""
    return mean(softplus(-scores))


def wgan_gp_discriminator(score, real, fake, gamma: float = 10.0, eps=None):
    """Wasserstein loss with gradient penalty gamma (Gulrajani et al. 2017) and ProGAN's drift term
    of 0.001.

    eps (n, 1, 1, 1), uniform in [0, 1): where between real and fake each image's penalty is taken.
    """
    scores = score(real, "real")
    between = eps * real + (1 - eps) * fake
    norm = jt.sqrt(squared_gradient_norm(score(between, "between"), between))
    penalty = gamma * mean((norm - 1) ** 2)
    return 0.001 * mean(scores**2) - mean(scores), mean(score(fake, "fake")), penalty


def wgan_gp_generator(scores):
    """-mean score."""
    return -mean(scores)


LOSSES = {
    "r1": (r1_discriminator, r1_generator),
    "wgan-gp": (wgan_gp_discriminator, wgan_gp_generator),
}
