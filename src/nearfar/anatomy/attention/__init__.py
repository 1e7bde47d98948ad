"""Attention is the same game: which of these keys does a query look at?

Its weights softmax(q . k / sqrt(d)) are the Boltzmann distribution of the energies -q . k at
temperature sqrt(d), and InfoNCE is minus the log of the attention that is paid to the right key.
"""

from nearfar.anatomy.attention._energy import AttentionEnergy, attention_energy
from nearfar.anatomy.attention._hopfield import hopfield_energy, hopfield_update
from nearfar.anatomy.attention._loss import attention_info_nce
from nearfar.anatomy.attention._record import record_energies

__all__ = [
    "AttentionEnergy",
    "attention_energy",
    "attention_info_nce",
    "hopfield_energy",
    "hopfield_update",
    "record_energies",
]
