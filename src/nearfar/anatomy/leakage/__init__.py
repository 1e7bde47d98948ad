"""Does batch norm give away the partner? With statistics per device, it can.

A query and its key that are encoded on the same device share its batch's statistics; other keys do
not. A network can learn to read them, and the loss falls without anything being learned (He et al.
2020, MoCo, section 3.3). Two measurements: `coupling` says whether embeddings depend on their
companions at all, `placement_gap` what that is worth to the loss. `audit` takes both and says what
to do.
"""

from nearfar.anatomy.leakage._audit import Audit, audit
from nearfar.anatomy.leakage._coupling import coupling
from nearfar.anatomy.leakage._placement import Gap, placement_gap
from nearfar.anatomy.leakage._significance import holm, sign_flip

__all__ = ["Audit", "Gap", "audit", "coupling", "holm", "placement_gap", "sign_flip"]
