"""How much a pair knows of each other: bounds, estimators, density ratios.

Example:
    One-way InfoNCE of 1,024 pairs has a loss of 2.5 nats: its embeddings share at least 4.4 nats.

    >>> found = info_nce_bound(2.5, candidates=1024)
    >>> round(found.nats, 1), found.name
    (4.4, 'InfoNCE: a lower bound on the mutual information')
"""

from nearfar.anatomy.information._bounds import donsker_varadhan, info_nce_bound, nwj, smile
from nearfar.anatomy.information._estimate import mutual_information, split_sizes
from nearfar.anatomy.information._ratio import density_ratio
from nearfar.anatomy.information._result import Estimate

__all__ = [
    "Estimate",
    "density_ratio",
    "donsker_varadhan",
    "info_nce_bound",
    "mutual_information",
    "nwj",
    "smile",
    "split_sizes",
]
