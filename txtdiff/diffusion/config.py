"""Settings of the diffusion process that a network is trained for."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from txtdiff.settings import Settings

__all__ = ["DiffusionConfig", "Loss", "NoiseConditioning", "NoiseSchedule", "Parameterisation", "Variance"]

NoiseSchedule = Literal["linear", "cosine"]
Parameterisation = Literal["eps", "x0", "v"]
Variance = Literal["learned_range", "fixed_large", "fixed_small"]
Loss = Literal["mse", "v", "balanced", "snr_plus_one", "kl"]


class NoiseConditioning(Settings):
    """Noise added to an upsampler's small picture, so that it forgives the faults of the stage before it."""

    noise_schedule: NoiseSchedule = "cosine"
    """Schedule of that noise, independent of the diffusion's own."""
    n_steps: int = Field(1000, ge=1)
    """Length of that schedule."""
    max_step: int | None = Field(None, ge=1)
    """Training draws the noise level from 0 to max_step - 1; None: from the whole schedule."""

    @model_validator(mode="after")
    def _max_step_within_schedule(self) -> Self:
        if self.max_step is not None and self.max_step > self.n_steps:
            raise ValueError(f"max_step {self.max_step} is beyond the {self.n_steps} steps of the schedule")
        return self

    @property
    def n_levels(self) -> int:
        """How many noise levels training draws from."""
        return self.n_steps if self.max_step is None else self.max_step


class DiffusionConfig(Settings):
    """The process, what the network predicts in it, and what the loss compares."""

    n_steps: int = Field(1000, ge=2)
    """Number of noise levels T. A timestep is an index into them; 0 is the cleanest."""
    noise_schedule: NoiseSchedule = "cosine"
    """linear: Ho et al. 2020, scaled to n_steps. cosine: Nichol and Dhariwal 2021, equation 17."""
    parameterisation: Parameterisation = "eps"
    """What the network's output is: the noise, the clean picture, or v (Salimans and Ho 2022)."""
    variance: Variance = "learned_range"
    """learned_range: the network also predicts where the step variance lies between its two bounds
    (Nichol and Dhariwal 2021, equation 15). fixed_large: the upper bound beta. fixed_small: the lower."""
    loss: Loss = "mse"
    """mse: error of what the network predicts. v: error in v. balanced: mean of the eps and x0 errors.
    snr_plus_one: eps error weighted by max(1 - alpha_bar, 0.01). kl: the variational bound alone.
    With a learned variance all but kl add the variational bound for the variance (the hybrid loss)."""
    vb_weight: float = Field(1.0, ge=0)
    """Weight of the variational bound in the hybrid loss."""
    character_weight: float = Field(0.1, ge=0)
    """Weight of the error in naming characters, for a network with model.text.names_characters."""
    min_snr_gamma: float | None = Field(None, gt=0)
    """Weights the mse loss by the signal-to-noise ratio, cut off here (Hang et al. 2023); None: not."""
    timestep_sampling: Literal["uniform", "logit_normal"] = "uniform"
    """How training draws timesteps. logit_normal favours the middle (Esser et al. 2024)."""
    rescale_timesteps: bool = False
    """Show the network t * 1000 / n_steps rather than t."""
    low_res_noise: NoiseConditioning | None = None
    """Upsamplers only: noise on the small picture, whose level the network is told."""

    @model_validator(mode="after")
    def _no_setting_without_effect(self) -> Self:
        if self.min_snr_gamma is not None and self.loss != "mse":
            raise ValueError(f"min_snr_gamma weights the loss 'mse' and does nothing for '{self.loss}'")
        bound_is_added = self.variance == "learned_range" and self.loss != "kl"
        if "vb_weight" in self.model_fields_set and self.vb_weight != 1 and not bound_is_added:
            raise ValueError("vb_weight acts only with variance 'learned_range' and a loss other than 'kl'")
        return self
