"""InfoNCE: pick the true partner of a query out of a crowd.

For query i and candidates j with logits s_ij = q_i . k_j / temperature,

    L_i = logsumexp over the crowd of s_ij  -  sum over partners of w_ij s_ij

that is, push away from the crowd and pull towards the partners (van den Oord et al. 2018,
arXiv 1807.03748, equation 4). Every loss of this room is a choice of crowd and partners.

Example:
    Four queries that equal their keys and are orthogonal to the others: the right one of four is
    found almost surely, and the loss is log(1 + 3 exp(-1 / 0.5)).

    >>> import torch
    >>> round(info_nce(torch.eye(4), torch.eye(4), temperature=0.5).item(), 4)
    0.3408
"""

from nearfar.loss._bank import MemoryBank
from nearfar.loss._check import checks
from nearfar.loss._clip import ClipLoss
from nearfar.loss._grad_cache import GradCache
from nearfar.loss._info_nce import info_nce
from nearfar.loss._info_nce_module import InfoNCE
from nearfar.loss._momentum import MomentumEncoder
from nearfar.loss._nt_xent import NTXentLoss
from nearfar.loss._ranks import gather
from nearfar.loss._shuffle import shuffled
from nearfar.loss._sig_lip import SigLipLoss
from nearfar.loss._sup_con import SupConLoss
from nearfar.loss._temperature import Temperature

__all__ = [
    "ClipLoss",
    "GradCache",
    "InfoNCE",
    "MemoryBank",
    "MomentumEncoder",
    "NTXentLoss",
    "SigLipLoss",
    "SupConLoss",
    "Temperature",
    "checks",
    "gather",
    "info_nce",
    "shuffled",
]
