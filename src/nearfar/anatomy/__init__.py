"""What the loss is doing: the game, its forces and the shape of the space."""

from nearfar.anatomy._game import GameStats, contrastive_stats
from nearfar.anatomy._space import alignment, effective_rank, uniformity

__all__ = ["GameStats", "alignment", "contrastive_stats", "effective_rank", "uniformity"]
