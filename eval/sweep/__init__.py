"""What to sweep over: settings with stable ids, the axes that were asked for, and the whole job."""

from __future__ import annotations

from eval.sweep.setting import Setting, grid, make_setting

__all__ = ["Setting", "grid", "make_setting"]
