"""Diffusion models that write a given transcription into a picture that fits a description."""
