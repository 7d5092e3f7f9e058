"""Runs code before and after a repair, and measures its gradients."""

from typing import Literal

# What happens where the machine cannot keep a run apart: it is not run, it is run and the lack is named, or no walls.
Isolation = Literal["require", "best-effort", "off"]
