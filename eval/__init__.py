"""How well does a model write? Pictures across sampler settings, read by OCR, scored and ranked."""
