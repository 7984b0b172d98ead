"""Counts per picture -> scores: what a score is, which metrics there are, and how they are summed up."""
