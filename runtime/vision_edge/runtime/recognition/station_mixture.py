"""What a station's own frames tell, though nobody said what they show.

Their scores are a mixture: of products, which score about as registered snapshots do with the
others of their product, and of strangers. Frames near no product alone would be a sample cut off
by the very threshold that is to be set by them, so all frames are taken, and both shares, means and
widths are weighed by how well they explain the scores: the posterior over a grid, by Bayes' rule.
Where products and strangers cannot be told apart by their scores, what was believed before stays.

Constants were chosen on grocery train and mini_imagenet val, for 2 to 16 products of 1, 3 and 5
snapshots, and for streams in which 0 to 100 % of 20 to 256 frames show a product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_edge.runtime.recognition.tails import Floats, normal_tail

SHARES = np.array([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98])
"""Of strangers among the frames, all as likely."""
DEVIATIONS = np.linspace(-2.4, 2.4, 13)
"""Of strangers' mean from what was believed, in standard deviations of that."""
WIDTHS, WIDTH_ODDS = np.array([1.1, 1.4, 1.8, 2.3]), np.array([0.3, 0.35, 0.25, 0.1])
"""Strangers' standard deviation, in those expected, and how likely each is: rather wide, for the
few kinds of strangers that a station has seen are not all that will come."""
LEAD, LEAD_SPREAD = 0.27, 0.1
"""How far above strangers products score where each has one snapshot, and how domains differ."""
OWN_LEAD, OWN_SPREAD, LEAST_OWN = 0.02, 0.04, 0.06
"""New frames of a product score so much better than its snapshots do with one fewer; how uncertain
their mean is; and the least standard deviation."""
OWN_WIDTHS, LONE_WIDTHS = np.array([0.95, 1.25]), np.array([0.09, 0.13])
"""Products' standard deviation, in that of their snapshots; or as such, with one snapshot each."""
STEPS = np.array([-1.5, -0.75, 0.0, 0.75, 1.5])
"""Of products' mean from what is expected, in standard deviations of that."""
LEAST_LEAD = 0.06
"""Products score at least so much above strangers."""
INDEPENDENT = 60.0
"""Frames count for at most so many independent ones: those of one kind are alike."""
FRAMES_A_DRAW, MOST_COUNT = 4.0, 60.0
"""So many strangers' frames count for one draw of the prior, up to so many draws."""
MOST_SCORES = 64
"""Of more scores so many quantiles are looked at, which tell as much."""
_ROOT = float(np.sqrt(2.0 * np.pi))


@dataclass(frozen=True)
class Told:
    """What the frames say of strangers: normal distributions, each with its probability.

    Attributes:
        means: float64 (M,).
        widths: float64 (W,), standard deviations.
        odds: float64 (M, W), which sum to 1.
        count: How many draws it counts for.
        strangers: Which share of the frames shows strangers, as expected.
    """

    means: Floats
    widths: Floats
    odds: Floats
    count: float
    strangers: float

    def tail(self, scores: Floats) -> Floats:
        """Return the share of strangers that score at least as high: float64 (N,) of (N,)."""
        above = normal_tail((scores[:, None, None] - self.means[:, None]) / self.widths)
        share: Floats = np.einsum("nmw,mw->n", above, self.odds)
        return share


def told_by_frames(
    scores: Floats,
    mean: float,
    unknown: float,
    width: float,
    own: Floats,
    weights: Floats | None = None,
) -> Told:
    """Weigh what is believed of strangers by the scores of frames that show anything.

    Args:
        scores: float64 (N,), best scores of frames, N at least 1.
        mean: Strangers' mean as believed.
        unknown: Its standard deviation, for what is not known of it.
        width: Strangers' standard deviation as expected.
        own: float64 (K,), scores of snapshots with the others of their product; may be empty.
        weights: float64 (N,), positive; all the same by default.
    """
    weights = np.ones(len(scores)) if weights is None else weights
    frames = float(weights.sum() ** 2 / np.square(weights).sum())
    scores = _quantiles(scores, weights, min(MOST_SCORES, int(np.ceil(frames))))
    means, widths = mean + unknown * DEVIATIONS, width * WIDTHS
    centres, spreads = _products(means, own)
    strangers = _density(scores, means[:, None, None], widths[:, None])  # (M, W, N)
    products = _density(scores, centres[:, :, None, None], spreads[:, None])  # (M, C, S, N)
    mixed = (
        strangers[:, :, None, None, None] * SHARES[:, None]
        + products[:, None, :, :, None] * (1.0 - SHARES)[:, None]
    )  # (M, W, C, S, shares, N)
    fit = np.log(mixed + 1e-9).sum(axis=-1) * min(1.0, INDEPENDENT / len(scores))
    prior = _normal_odds(DEVIATIONS)[:, None] * WIDTH_ODDS
    fit += np.log(prior)[:, :, None, None, None] + np.log(_normal_odds(STEPS))[:, None, None]
    odds = np.exp(fit - fit.max())
    odds /= odds.sum()
    share = float(odds.sum(axis=(0, 1, 2, 3)) @ SHARES)
    count = min(share * frames / FRAMES_A_DRAW, MOST_COUNT)
    return Told(means, widths, odds.sum(axis=(2, 3, 4)), count, share)


def _quantiles(scores: Floats, weights: Floats, count: int) -> Floats:
    """Return so many scores that stand for a weighted sample: float64 (count,)."""
    order = scores.argsort()
    reached = np.cumsum(weights[order])
    middles = (reached - weights[order] / 2) / reached[-1]
    found: Floats = np.interp((np.arange(count) + 0.5) / count, middles, scores[order])
    return found


def _products(means: Floats, own: Floats) -> tuple[Floats, Floats]:
    """Return products' possible means, (M, C) by strangers' means, and their widths, (S,)."""
    if len(own):
        centres = np.broadcast_to(own.mean() + OWN_LEAD + OWN_SPREAD * STEPS, (len(means), 5))
        spreads = max(float(own.std()), LEAST_OWN) * OWN_WIDTHS
    else:
        centres = means[:, None] + LEAD + LEAD_SPREAD * STEPS
        spreads = LONE_WIDTHS
    return np.maximum(centres, means[:, None] + LEAST_LEAD), spreads


def _density(scores: Floats, mean: Floats, width: Floats) -> Floats:
    density: Floats = np.exp(-0.5 * np.square((scores - mean) / width)) / (width * _ROOT)
    return density


def _normal_odds(deviations: Floats) -> Floats:
    odds: Floats = np.exp(-0.5 * np.square(deviations))
    odds /= odds.sum()
    return odds
