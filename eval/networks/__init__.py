"""Networks that look at pictures: Inception and CLIP, where their weights come from, and how they run.

Nothing is imported here: which weights would be used is known without torch.
"""
