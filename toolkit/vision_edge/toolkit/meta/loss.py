"""What meta-learning minimises on a task.

Source: LoRA Recycle (Hu et al., CVPR 2025, arXiv 2412.02220), sections 4.3 and 4.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vision_edge.toolkit.pool.tasks import SyntheticTask, TaskShape


def episode_logits(features: Tensor, shape: TaskShape, metric: str, temperature: float) -> Tensor:
    """Classify the queries of tasks by prototypes of their support.

    Args:
        features: (E, way, shot + query, D): of E tasks, the support images first.
        shape: Form of the tasks.
        metric: `centred-cosine`, or `euclidean` for the negative squared distance.
        temperature: What scores are divided by.

    Returns:
        float32 (E, way * query, way).
    """
    features = features.float()
    prototypes = features[:, :, : shape.shot].mean(2)  # (E, way, D)
    query = features[:, :, shape.shot :].flatten(1, 2)  # (E, way * query, D)
    if metric == "euclidean":
        return -(query[:, :, None] - prototypes[:, None]).square().sum(-1) / temperature
    centre = prototypes.mean(1, keepdim=True)
    query = F.normalize(query - centre, dim=-1)
    prototypes = F.normalize(prototypes - centre, dim=-1)
    return query @ prototypes.transpose(1, 2) / temperature


def task_losses(logits: Tensor, tasks: Sequence[SyntheticTask], shape: TaskShape) -> Tensor:
    """Return each task's loss, float32 (E,): KL to its teacher, or cross-entropy without one.

    Args:
        logits: float32 (E, way * query, way).
        tasks: E tasks.
        shape: Their form.
    """
    truth = torch.arange(shape.way, device=logits.device).repeat_interleave(shape.query)
    losses = []
    for scores, task in zip(logits, tasks, strict=True):
        if task.teacher is None:
            losses.append(F.cross_entropy(scores, truth))
            continue
        teacher = torch.from_numpy(task.teacher).to(logits).log_softmax(-1)
        losses.append(
            F.kl_div(scores.log_softmax(-1), teacher, log_target=True, reduction="batchmean")
        )
    return torch.stack(losses)
