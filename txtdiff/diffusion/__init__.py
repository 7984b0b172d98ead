"""The diffusion process: schedule, losses, the Denoiser seam, guidance and samplers."""
