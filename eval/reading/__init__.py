"""Pictures -> raw readings: each reader once, what a number depends on, and how far readers agree.

Nothing is imported here: how pictures are read is an option of commands that may never come to read one.
"""
