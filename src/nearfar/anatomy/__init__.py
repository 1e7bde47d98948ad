"""What the loss is doing: the game, its forces, the temperature, the margin and the space.

Pure functions of embeddings at O((N + M) D) memory. `play` looks at the game once; most others
read its result. Rooms of their own: `information` (density ratio and mutual information),
`attention` (the same game inside a transformer), `leakage` (batch norms that give partners away).
"""

from nearfar.anatomy._advice import advise, collapsed_step, label_numbers
from nearfar.anatomy._forces import Forces, forces
from nearfar.anatomy._game import Game, play, read
from nearfar.anatomy._harmony import Harmony, HarmonyRecord, harmony
from nearfar.anatomy._margin import Margin, margin, negatives_for
from nearfar.anatomy._motion import Motion, motion
from nearfar.anatomy._players import Who
from nearfar.anatomy._space import Health, alignment, effective_rank, health, uniformity
from nearfar.anatomy._stats import GameStats, contrastive_stats
from nearfar.anatomy._weighing import (
    blunt_limit,
    hardest_share,
    push_weights,
    sharp_limit,
    temperature_gradient,
    tolerance,
)

__all__ = [
    "Forces",
    "Game",
    "GameStats",
    "Harmony",
    "HarmonyRecord",
    "Health",
    "Margin",
    "Motion",
    "Who",
    "advise",
    "alignment",
    "blunt_limit",
    "collapsed_step",
    "contrastive_stats",
    "effective_rank",
    "forces",
    "hardest_share",
    "harmony",
    "health",
    "label_numbers",
    "margin",
    "motion",
    "negatives_for",
    "play",
    "push_weights",
    "read",
    "sharp_limit",
    "temperature_gradient",
    "tolerance",
    "uniformity",
]
