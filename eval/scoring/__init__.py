"""Pictures -> readings and features -> scores, each step kept in the store and never done twice.

Nothing is imported here: how pictures are scored is an option of commands that may never come to score one.
"""
