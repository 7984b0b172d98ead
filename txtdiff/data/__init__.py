"""From rows of a catalog to batches of tensors: tokens, crops, order."""
