"""One way: the gradient of a stripe of rows is known when the stripe has been summed.

No tile is computed twice: 3 matrix products, at the memory of one stripe.
"""

from __future__ import annotations

from itertools import groupby

import torch

from nearfar.loss._numbers import FAINT
from nearfar.loss._room import ROOM
from nearfar.loss.push._ahead import Ahead
from nearfar.loss.push._blocks import WIDTH, by_one_dnn, cut
from nearfar.loss.push._fused import passes_over
from nearfar.loss.push._game import Game
from nearfar.loss.push._gradients import Gradients
from nearfar.loss.push._losses import Found, Losses, UnderflowError
from nearfar.loss.push._pull import add_pull
from nearfar.loss.push._range import enough, shift_of, steep
from nearfar.loss.push._tiles import Tiles

# Rows and bytes of a stripe, at most. Fewer rows make keys' gradients slow: these come and go from
# memory once a stripe. Twice as many are faster where products are most of the work: vectors are
# longer than this, and forces take no pass of their own.
ROWS, SHORT, STRIPE = 1024, 128, 128 * 2**20
# A stripe whose losses are all below so many times what is too small to count is left to `push`,
# which compares them with the largest.
_TIMES = 2.0**40


def stripes(game: Game, losses: Losses, *, needs_query: bool, needs_key: bool) -> Found:
    """As `sides`."""
    shift, width = shift_of(game), max(1, len(game.keys))
    size = 2 if game.bf16 else game.query.element_size()
    most = ROWS if steep(game) or game.query.shape[1] <= SHORT else 2 * ROWS
    height = max(1, min(most, STRIPE // (size * width)))
    # oneDNN is slow with wide tiles.
    part = min(width, WIDTH) if by_one_dnn(game) else width
    tiles = Tiles(game, shift, cut(game, height, part))
    gradients = Gradients(
        game,
        tiles,
        factor=game.scale.item() * losses.share,
        needs_query=needs_query,
        needs_key=needs_key,
    )
    sums, share = losses.positive.new_zeros(2, len(game.query))
    beside = losses.beside(shift)
    passes = passes_over(tiles)
    crowds = passes.parts(sums, "down")
    made, room, several = tiles.narrow, passes.narrow, part < width
    if several:
        whole = ROOM.take(height * width, tiles.query)
        made = Ahead(tiles.blocks, lambda block: block.along(whole))
        room = passes.parts(whole, "along")
    for rows, stripe in groupby(tiles, lambda block: block.rows):
        blocks, crowd = list(stripe), sums[rows]
        for block in blocks:
            # In a room for several, all cores' caches have what they read of the stripe before.
            passes.exponentials(block, room[block], crowds[block], far=several)
        if not enough(game, crowd, shift):
            raise UnderflowError
        # Little is done here: a stripe has filled the caches, and small operations find nothing.
        if tiles.steep:
            factor = torch.reciprocal(crowd + beside[rows], out=share[rows])
            if (factor * crowd).amax().item() < _TIMES * FAINT[crowd.dtype]:
                raise UnderflowError
            for block in blocks:
                gradients.add(block, passes.forces(block, room[block], factor, None))
        else:
            # A row's factor goes to its query, which is smaller than its tiles.
            queries = passes.weighed(blocks[0], crowds[blocks[0]], beside[rows], share[rows])
            for block in blocks:
                gradients.add(block, made[block], queries)
    loss, grad = losses.of(sums, shift)
    grad_query, grad_key, lying = gradients.late()
    share = None if tiles.steep else share
    add_pull(game, grad, grad_query, grad_key, share, lying=lying)
    return Found(loss, grad_query, grad_key, grad)
