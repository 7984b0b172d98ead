"""The network: a U-Net with text, captions and a smaller picture as conditions.

Nothing is imported here: `txtdiff.model.config` is read by commands that need no network, and torch is slow.
"""
