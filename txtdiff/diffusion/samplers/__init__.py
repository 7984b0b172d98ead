"""Samplers: flat functions (denoiser, x, schedule, steps, …) -> picture, one file per family."""

from txtdiff.diffusion.samplers.ddim import sample_ddim
from txtdiff.diffusion.samplers.ddpm import sample_ddpm
from txtdiff.diffusion.samplers.dpmpp import sample_dpmpp_2m
from txtdiff.diffusion.samplers.heun import sample_heun
from txtdiff.diffusion.samplers.plms import sample_plms
from txtdiff.diffusion.samplers.prk import sample_prk
from txtdiff.diffusion.samplers.pseudo import DdimSteps, PseudoOptions
from txtdiff.diffusion.samplers.unipc import sample_unipc

__all__ = [
    "DdimSteps",
    "PseudoOptions",
    "sample_ddim",
    "sample_ddpm",
    "sample_dpmpp_2m",
    "sample_heun",
    "sample_plms",
    "sample_prk",
    "sample_unipc",
]
