"""A detection head that stops before anchors, as `models.export` puts it into the graph. Imports torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class CutHead(nn.Module):  # type: ignore[misc]  # torch is not followed by mypy, see pyproject.toml
    """Takes the place of ultralytics' `Detect`; weights are shared with it.

    Output (1, 4 + classes, anchors): left, top, right, bottom distances in strides, then one logit a class; levels from
    fine to coarse, each row by row.
    """

    def __init__(self, head: Any) -> None:
        super().__init__()
        branch = head.one2one if head.end2end else head.one2many
        self.f, self.i, self.type = head.f, head.i, head.type  # where ultralytics' network reads a layer's inputs
        self.box, self.cls, self.dfl = branch["box_head"], branch["cls_head"], head.dfl

    def forward(self, levels: list[Tensor]) -> Tensor:
        distances = torch.cat([conv(x).flatten(2) for conv, x in zip(self.box, levels, strict=True)], 2)
        logits = torch.cat([conv(x).flatten(2) for conv, x in zip(self.cls, levels, strict=True)], 2)
        return torch.cat([self.dfl(distances), logits], 1)
