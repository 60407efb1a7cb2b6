"""Eq. (4): p(x) = int p(x | z) p(z) dz, a text VAE whose prior is a block-causal flow, and the training of both.

Stage 1 is the loss of the VAE alone, whose prior is N(0, I). In stage 2, which starts when the two are joined here, the
flow takes the place of that prior while encoder and decoder go on learning. In nats a token but for L_FM, a mean over
coordinates,

    vae ( -E_q log p(x|z) + beta E_q log q(z|x) + mask L_mask ) + flow L_FM + reference KL(q || q_ref)

with q_ref the encoder as stage 1 left it.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from encoders.gaussian import Gaussian
from encoders.text import rows, sampling
from encoders.text.prior import STOPS, Prior
from encoders.text.vae import TextVAE
from unienv.modality import PAD
from unienv.spelling import check_choice


@dataclass
class LatentConfig:
    """Weights of the loss of stage 2; beta and mask are `kl` and `mask_weight` of the VAE's own.

    `reference` should not be below `kl`. E_q log q alone has no lower bound, and with the target's gradient stopped
    L_FM does not mind wide latents: with kl 0.03 and reference 0.01, variances ran away to 70 times the signal's.
    """

    vae: float = 1.0
    flow: float = 1.0
    reference: float = 1e-2
    stop: str = "input"  # what of the gradient of L_FM into the latents is stopped, see `Prior.loss`


class LatentLanguage(nn.Module):
    """p(x, z) = p(x | z) p(z) and q(z | x): a `LatentText`, see `encoders.text.elbo`.

    p(z) is a law of rows of one length. From z alone nobody knows where a text will end, so latents of padding belong
    to it; their posterior N(0, I) is soon learned.

    Args:
        vae: q(z | x) and p(x | z), trained in stage 1. It is copied, for q_ref.
        prior: p(z), of as many numbers a latent.
        config: weights.

    Attributes:
        probe: None for the exact log p(z), block * d gradients a step of the solver; a generator for Hutchinson's
            estimate, one gradient. That is unbiased: the ELBO stays below log p(x) on average. IWAE may not, as exp
            lifts centred noise. (The solver's own error has no sign; it vanishes as `solver_steps` grow.)
        solver_steps: of the solver of log p(z).

    Raises:
        ValueError: one line, for latents of two sizes, or no such `stop`.
    """

    def __init__(self, vae: TextVAE, prior: Prior, config: LatentConfig) -> None:
        super().__init__()
        if vae.config.latent != prior.latent:
            raise ValueError(f"latents of the prior must have {vae.config.latent} numbers, got {prior.latent}")
        check_choice("stop", config.stop, STOPS)
        self.vae, self.prior, self.config = vae, prior, config
        self.reference = copy.deepcopy(vae).requires_grad_(False)
        self.probe: Generator | None = None
        self.solver_steps = 32

    def posterior(self, x: Tensor) -> Gaussian:
        """q(z | x), (B, L / patch, d), of tokens (B, L)."""
        return self.vae.posterior(x)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) in nats, (B,). x (B, L), z (B, L / patch, d)."""
        return self.vae.log_likelihood(x, z)

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z) in nats, (B,), of z (B, L / patch, d); with a gradient where z requires one."""
        return self.prior.log_density(z, self.probe, self.solver_steps).sum(dim=1)

    def stage2_loss(self, x: Tensor, generator: Generator) -> dict[str, Tensor]:
        """The loss of stage 2 and its terms. x (B, L).

        Returns:
            "distortion", "recovery": as in the VAE's own loss. "negentropy": E_q log q(z|x) of all but padding.
            "drift": KL(q || q_ref). "flow": L_FM. "loss": their weighted sum.
        """
        weights, own = self.config, self.vae.config
        said, q = self.vae.read(x, generator)
        modelled = self.vae.modelled(x)
        with torch.no_grad():
            reference = self.reference.posterior(x)
        everywhere = torch.ones_like(modelled)
        terms = {
            "distortion": said["distortion"],
            "recovery": said["recovery"],
            "negentropy": rows.per_token(negentropy(q) * modelled, x),
            "drift": rows.per_token(relative(q, reference).divergence(), x),
            "flow": self.prior.loss(q.sample(generator), everywhere, generator, weights.stop),
        }
        vae = terms["distortion"] + own.kl * terms["negentropy"] + own.mask_weight * terms["recovery"]
        terms["loss"] = weights.vae * vae + weights.flow * terms["flow"] + weights.reference * terms["drift"]
        return terms

    @torch.no_grad()
    def sample(
        self,
        prefix: Tensor,
        length: int,
        generator: Generator,
        steps: int = 16,
        guidance: float = 1.0,
        temperature: float = 1.0,
    ) -> Tensor:
        """x ~ p(x | z), z ~ p(z | z'), z' ~ q(z' | prefix).

        Args:
            prefix: (B, P) tokens that texts begin with, P from 0 to L, padded where they are shorter.
            length: L.
            generator: of all draws, on the device of the model.
            steps: of the flow, a block.
            guidance: see `encoders.text.sampling`; 1 samples p itself.
            temperature: of p(x | z) alone; 0 takes the likeliest tokens.

        Returns:
            (B, L).

        Raises:
            ValueError: L or the length of a prefix is not a multiple of the patch.
        """
        patch, sizes = self.vae.config.patch, (prefix != PAD).sum(dim=1)
        if length % patch or (sizes % patch).any():
            got = f"{length} and {sorted(set(sizes.tolist()))}"
            raise ValueError(f"length and those of prefixes must be multiples of patch={patch} tokens, got {got}")
        x = rows.room(prefix, length)
        begun, known = self.posterior(x).sample(generator), self.vae.modelled(x)
        z = sampling.sample(self.prior, len(x), length // patch, generator, steps, guidance, begun, known)
        said = rows.draw(self.vae.decode(z), temperature, generator)
        return rows.cut(torch.where(x == PAD, said, x), self.vae.end)


def negentropy(q: Gaussian) -> Tensor:
    """E_q log q in nats, (...)."""
    return -0.5 * (1.0 + math.log(math.tau) + q.log_variance).sum(dim=-1)


def relative(q: Gaussian, to: Gaussian) -> Gaussian:
    """q in coordinates in which another Gaussian is N(0, I): KL(q || to) is its divergence."""
    return Gaussian((q.mean - to.mean) * (-0.5 * to.log_variance).exp(), q.log_variance - to.log_variance)
