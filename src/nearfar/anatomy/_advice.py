"""Advice in words, each from a threshold that is written here.

Where it says "measured", benchmarks/thresholds.py has trained at seven temperatures and looked at
which side the better encoder lies (docs/results.md); on one data set, so they are no laws. The
others are chosen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.anatomy._game import Game
from nearfar.anatomy._margin import margin
from nearfar.anatomy._motion import Similarity

# The hardest 1 % take this share of the push: measured, at 0.63 and above a higher temperature was
# better, at 0.26 none was ...
SHARP = 0.6
# ... and this share of the queries' hardest negatives has their own label (by chance it would be
# the share of the commonest labels): measured, from 0.42 on ids were worth 10 points or more.
ALIKE = 0.4
# More than this share of all negatives push: measured, at 0.77 and above a lower temperature was
# better, at 0.30 none was.
BLUNT = 0.75
# The partner's mean place among the candidates, 0 the first and 1 the last; who guesses has 0.5.
GUESSING = 0.4
# The direction turns this many times more slowly than at the beginning.
SLOWER = 100.0


def advise(game: Game, hardest_1: float, labels: Tensor | None = None) -> list[str]:
    """What to change, if anything.

    Args:
        game: From `play`, of in-batch keys alone.
        hardest_1: Mean `hardest_share` of the hardest 1 %.
        labels: (N,) integers of the queries, if they are known.

    Returns:
        Sentences, the most urgent first; empty where nothing stands out.
    """
    said = []
    count = game.negatives.double()
    if ((game.rank - 1) / count).mean() > GUESSING:
        said.append(
            f"The partner is not found yet: its mean place is {game.rank.double().mean():.0f} of "
            f"{count.mean() + 1:.0f}. Train longer; if it stays so, the views have too little in "
            "common."
        )
    alike = None
    if labels is not None:
        alike = float((labels[game.hardest[:, 0]] == labels).double().mean())
    if hardest_1 > SHARP and alike is not None and alike > ALIKE:
        said.append(
            f"The hardest 1 % of the negatives take {hardest_1:.0%} of the push, and {alike:.0%} "
            "of the queries' hardest negatives share their label: likely false negatives. Raise "
            "the temperature, or pass ids of what belongs together."
        )
    elif alike is not None and alike > ALIKE:
        said.append(
            f"{alike:.0%} of the queries' hardest negatives share their label: likely false "
            "negatives, though many others push, too. Pass ids of what belongs together if they "
            "are known."
        )
    frozen = margin(game).frozen
    # Measured: it is 0 or 1, and where it is 1 a higher temperature was better.
    if frozen > 0.5:
        said.append(
            f"For {frozen:.0%} of the queries a few hardest negatives decide everything (sigma / "
            "temperature is beyond sqrt(2 ln K)): a larger crowd only adds more of the same. Raise "
            "the temperature if training is noisy."
        )
    if (game.effective_negatives / count).mean() > BLUNT and not said:
        said.append(
            f"{(game.effective_negatives / count).mean():.0%} of all negatives push alike: the "
            "temperature hardly tells hard from easy. Lower it."
        )
    bound = float((game.chance - game.loss).mean())
    if bound > float(game.chance.mean()) - 1:
        said.append(
            f"The game is nearly won (loss {game.loss.mean():.2f}): this crowd teaches little "
            "more. Use a larger batch, a memory bank (--bank), or stronger views."
        )
    return said


def collapsed_step(lengths: list[float], similarity: Similarity = "cosine") -> str | None:
    """Warn when a step turns vectors much less than it did, because they have grown long.

    Under cosine similarity a step of size r turns a vector of length l by about r / l^2.

    Args:
        lengths: Typical length of the vectors at each look.
        similarity: Under the dot product length is sharpness, and nothing is said.
    """
    if similarity != "cosine" or not lengths or not lengths[0] > 0:
        return None
    longer = lengths[-1] / lengths[0]
    if longer**2 < SLOWER:
        return None
    return (
        f"The vectors are {longer:.0f} times as long as at the first look, so a step turns "
        f"them {longer**2:.0f} times less. Add weight decay on the last layer, or normalise "
        "before it."
    )


def label_numbers(labels: list[str]) -> Tensor | None:
    """Integers for label names; None where there are none."""
    if not any(labels):
        return None
    names = {name: number for number, name in enumerate(dict.fromkeys(labels))}
    return torch.tensor([names[label] for label in labels])
