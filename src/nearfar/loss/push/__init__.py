"""The push: logsumexp of a matrix of similarities that is never stored.

The one expensive primitive of the library. ``push(game)`` says who is in each query's crowd and
how loud; `Game` and `Crowd` say who plays; a backend (dense, tiled, triton) does the work.
"""

from nearfar.loss.push._choose import BACKENDS, LOG, Backend, choose
from nearfar.loss.push._cohorts import Cohorts
from nearfar.loss.push._crowd import Crowd, Diagonal, Pairs
from nearfar.loss.push._dense import gradients, lse
from nearfar.loss.push._early import contrast_at_once
from nearfar.loss.push._game import Game
from nearfar.loss.push._partners import partners
from nearfar.loss.push._product import product, similarities
from nearfar.loss.push._pull import pull
from nearfar.loss.push._push import engine, push, push_pull
from nearfar.loss.push._range import STEEP, TOP
from nearfar.loss.push._sigmoid import sigmoid_pass, sigmoid_sum

__all__ = [
    "BACKENDS",
    "LOG",
    "STEEP",
    "TOP",
    "Backend",
    "Cohorts",
    "Crowd",
    "Diagonal",
    "Game",
    "Pairs",
    "choose",
    "contrast_at_once",
    "engine",
    "gradients",
    "lse",
    "partners",
    "product",
    "pull",
    "push",
    "push_pull",
    "sigmoid_pass",
    "sigmoid_sum",
    "similarities",
]
