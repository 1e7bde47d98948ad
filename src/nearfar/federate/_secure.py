"""Secure aggregation by Flower: masks that cancel in the sum, so that the server sees nothing else.

SecAgg+ (Bell et al. 2020, "Secure Single-Server Aggregation with (Poly)Logarithmic Overhead", IACR
ePrint 2020/704), after Bonawitz et al. 2017 (arXiv 1611.04482). Every two clients (all two: not the
sparse graph of Bell et al.) agree on a mask, which one adds and the other subtracts; each adds a
mask of its own, too, whose seed is shared out among all (Shamir), so that masks can be taken off
the sum although some clients drop out.

The one file that knows Flower's older interface (written for flwr 1.42), in which alone it has
this. Its masks are replaced: those of flwr 1.42 come from a Mersenne twister with a seed folded to
32 bits, which a server could try out (flwrlabs/flower, issue 7522).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import shake_256
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from cryptography.fernet import InvalidToken
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.common import (
    Code,
    FitIns,
    FitRes,
    Parameters,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.server import LegacyContext
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.serverapp import Grid
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.federate._line import Gathered
from nearfar.federate._pull import CountingGrid
from nearfar.federate._vector import BOUND

_MODULUS = 2**32
_KEPT = "kept"


def masks(seed: bytes, modulus: int, shapes: Sequence[tuple[int, ...]]) -> list[NDArray[np.int64]]:
    """Numbers from 0 to modulus - 1 that follow from all of a seed, by SHAKE-256.

    Args:
        seed: What two clients agreed on, or one has drawn.
        modulus: A power of 2, at most 2^32.
        shapes: Of the arrays.
    """
    sizes = [math.prod(shape) for shape in shapes]
    flat = np.frombuffer(shake_256(seed).digest(4 * sum(sizes)), "<u4").astype(np.int64) % modulus
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


# The functions' modules, by name: `flwr.client.mod` has the function under its module's name.
_client: Any = import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
_server: Any = import_module("flwr.server.workflow.secure_aggregation.secaggplus_workflow")
_client.pseudo_rand_gen = _server.pseudo_rand_gen = masks


def keep(state: RecordDict, vector: torch.Tensor, items: int, number: int, seed: int) -> None:
    """Keep a vector on the device until it is asked for.

    Args:
        state: The node's, which outlives a message.
        vector: (P,) float64 within the bound.
        items: How much it counts.
        number: The round.
        seed: From which its numbers are rounded, up or down at random.
    """
    state[_KEPT] = ArrayRecord({"vector": vector})
    state[f"{_KEPT}.as"] = ConfigRecord({"items": items, "number": number, "seed": seed})


def hand_out(message: Message, context: Context) -> Message:
    """Give the kept vector to `masked`, which masks it before it leaves the device.

    Raises:
        NearfarError: There is none, or it is another round's.
    """
    number: Any = _server.compat.recorddict_to_fitins(message.content, True).config["number"]
    kept: dict[str, Any] = dict(context.state.config_records.get(f"{_KEPT}.as", {"number": None}))
    if kept["number"] != number or _KEPT not in context.state:
        raise NearfarError(
            f"Asked for weights of round {number}, and kept those of {kept['number']}. Wanted a "
            "task of the same round before."
        )
    vector = context.state.array_records.pop(_KEPT)["vector"].numpy()
    np.random.seed(kept["seed"])
    said = FitRes(Status(Code.OK, "ok"), ndarrays_to_parameters([vector]), kept["items"], {})
    return Message(_server.compat.fitres_to_recorddict(said, False), reply_to=message)


def masked(
    message: Message, context: Context, then: Callable[[Message, Context], Message]
) -> Message:
    """Flower's mod: what a client does in each of the four stages.

    It rounds by numpy's global generator, which `hand_out` seeds, so that a round that is played
    again gives the same; keys and seeds of masks come from the operating system.

    Raises:
        NearfarError: A stage that cannot be played, as where others were lost too early.
    """
    before = np.random.get_state()
    try:
        return _client.secaggplus_mod(message, context, then)  # type: ignore[no-any-return]
    except NearfarError:
        raise
    except KeyError as error:
        raise NearfarError(
            "Another client was lost before its shares were dealt out. The round is played again."
        ) from error
    except (ValueError, TypeError, InvalidToken) as error:
        raise NearfarError(
            f"Secure aggregation stopped: {str(error) or type(error).__name__}. Wanted one nearfar "
            "version, with flwr 1.42, on all clients and the server."
        ) from error
    finally:
        np.random.set_state(before)


def gather(
    grid: Grid, items: Mapping[int, int], number: int, least: int, seconds: float
) -> Gathered:
    """The mean of what nodes keep, over a grid; see `Line.gather` for the rest.

    Flower's four stages, each a message to every node: keys; shares of secrets; masked vectors;
    shares of the secrets that take the masks off. More than half of the nodes, and no fewer than
    ``least``, must be left in each; a node that is lost before it sent its shares ends it all.
    """
    counted, mean = CountingGrid(grid), _Mean(items)
    state = RecordDict(
        {
            "config": ConfigRecord({"current_round": number}),
            "parameters": ArrayRecord({}),
        }
    )
    played: Any = mean
    context = LegacyContext(Context(0, 0, {}, state, {}), strategy=played, client_manager=played)
    workflow: Any = SecAggPlusWorkflow(
        num_shares=1.0,
        reconstruction_threshold=max(len(items) // 2 + 1, least),
        max_weight=float(max(items.values())),
        clipping_range=BOUND,
        # As fine as a sum of so many allows.
        quantization_range=_MODULUS >> len(items).bit_length(),
        modulus_range=_MODULUS,
        timeout=seconds,
    )
    reason = "too few were left to take the masks off"
    try:
        with _quiet():
            workflow(counted, context)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # Flower checks little of what clients send.
        mean.found, reason = None, f"what a client sent cannot be summed ({error})"
    return Gathered(
        mean=mean.found,
        nodes=mean.nodes if mean.found is not None else set(),
        reason=reason,
        failures=counted.failures,
        late=counted.late,
        up=counted.up,
        down=counted.down,
    )


class _Mean:
    """What the workflow takes for its strategy and its clients: all are asked, once."""

    def __init__(self, nodes: Iterable[int]) -> None:
        self._nodes = list(nodes)
        self.found: torch.Tensor | None = None
        self.nodes: set[int] = set()

    def num_available(self) -> int:
        return len(self._nodes)

    def configure_fit(self, number: int, parameters: Parameters, clients: Any) -> list[Any]:
        return [
            (SimpleNamespace(node_id=node), FitIns(parameters, {"number": number}))
            for node in self._nodes
        ]

    def aggregate_fit(
        self, number: int, results: Sequence[tuple[Any, FitRes]], failures: Any
    ) -> tuple[None, dict[str, Any]]:
        self.found = torch.from_numpy(parameters_to_ndarrays(results[0][1].parameters)[0])
        self.nodes = {proxy.node_id for proxy, _ in results}
        return None, {}


@contextmanager
def _quiet() -> Iterator[None]:
    """Flower tells of each stage; the server tells of the round."""
    logger = logging.getLogger("flwr")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
