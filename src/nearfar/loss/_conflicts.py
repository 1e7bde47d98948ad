"""Options of `info_nce` that exclude each other."""

from __future__ import annotations

from nearfar.errors import NearfarError

_CONFLICTS = {
    ("symmetric", "negatives"): (
        "symmetric=True with negative_keys or in_batch=False is not defined: the keys would need "
        "negatives of their own. Leave one out, or add two calls with the roles exchanged."
    ),
    ("estimated", "weight"): (
        "hardness and tau_plus with weight are not defined: they estimate the crowd around one "
        "positive. Leave one out."
    ),
    ("estimated", "similarity_margin"): (
        "hardness and tau_plus with similarity_margin both correct for false negatives. Leave one "
        "out."
    ),
    ("estimated", "bias"): (
        "hardness and tau_plus with bias are not defined: they estimate a mean over similarities. "
        "Leave one out, or give a mask if the bias only forbids keys."
    ),
    ("margin", "weight"): "margin with weight is not defined: there is no single positive. "
    "Leave one out, or give the margin as a bias of -margin / temperature.",
    ("similarity_margin", "weight"): (
        "similarity_margin with weight is not defined: there is no single positive. Leave one out."
    ),
    ("ranks", "symmetric", "weight"): (
        "symmetric=True with weight over several ranks would need the other ranks' weights for the "
        "way back. Wanted group=None, or two calls with the roles exchanged."
    ),
    ("ranks", "symmetric", "similarity_margin", "grid"): (
        "symmetric=True and similarity_margin with mask or bias over several ranks would need the "
        "other ranks' masks for the way back. Wanted group=None, or ids instead of the mask."
    ),
    ("negative_ids", "no_ids"): (
        "negative_ids without negative_keys or without ids leave nobody out: they are compared "
        "with the queries' ids. Give all three, or leave negative_ids out."
    ),
    ("ring", "learned_bias"): (
        "group='ring' has no gradient for a bias, whose columns are other ranks' keys. Wanted "
        "group='auto', or bias.detach()."
    ),
    ("ring", "weight"): (
        "group='ring' with weight would gather the keys after all. Wanted group='auto'."
    ),
}


def compatible(**given: bool) -> None:
    """Refuse what is not defined together.

    Raises:
        NearfarError: The first conflict, with its mend.
    """
    for names, message in _CONFLICTS.items():
        if all(given[name] for name in names):
            raise NearfarError(message)
