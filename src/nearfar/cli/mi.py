"""Ask how much pairs know of each other: nearfar mi X.npy Y.npy"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal


def mi(
    x: str,
    y: str,
    seed: int = 0,
    critic: Literal["copula", "plain"] = "copula",
    json: bool = False,
) -> int:
    """Print a lower bound on the mutual information of pairs, with its interval.

    Args:
        x: A .npy file of shape (pairs, numbers).
        y: Another; row i belongs to row i of x.
        seed: Of the split into training, validation and test pairs, and of learning.
        critic: copula (ranks of each column, a Gaussian copula and a small network) or plain (the
            network alone).
        json: Print the figures as JSON.
    """
    import math
    from dataclasses import asdict

    from nearfar.anatomy.information import mutual_information, split_sizes
    from nearfar.cli import _show as show

    left, right = _read(x), _read(y)
    with show.out(as_json=True).status("splitting the pairs") as status:

        def say(step: int, nats: float) -> None:
            status.update(f"learning a critic: step {step:,}, {nats:.3f} nats of validation pairs")

        found = mutual_information(left, right, seed=seed, critic=critic, callback=say)
    split = split_sizes(len(left))
    if json:
        figures = {**asdict(found), "bits": found.bits, "seed": seed, "critic": critic}
        show.print_json(figures | {"pairs": split._asdict()})
        return 0
    console = show.out()
    for unit, size in (("nats", 1.0), ("bits", math.log(2))):
        value, *ends = (
            f"{nats / size:.3f}" for nats in (found.nats, found.low, found.high) if nats is not None
        )
        show.say(console, unit, f"{value}, 95 % interval {' to '.join(ends)}")
    show.say(console, "name", found.name)
    if found.ceiling is not None:
        show.say(console, "ceiling", f"{found.ceiling:.3f} nats, the log of the candidates")
    if found.saturated:
        show.say(
            console,
            "saturated",
            "within 1 nat of the ceiling: the truth may be much larger. More pairs raise the "
            "ceiling.",
            "yellow",
        )
    show.say(
        console,
        "pairs",
        f"{split.train:,} to learn, {split.validation:,} to stop, {split.test:,} to test, once",
    )
    return 0


def _read(path: str) -> Any:
    """An array from a file."""
    import numpy as np

    from nearfar.errors import NearfarError

    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise NearfarError(f"{path}: {error.strerror or 'cannot be read'}.") from error
    except ValueError as error:
        raise NearfarError(
            f"{path} is not an array of numbers in numpy's format; wanted a file that "
            "numpy.save wrote."
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise NearfarError(
            f"{path} holds {getattr(array, 'dtype', 'several arrays')}; wanted one array of real "
            "numbers, as numpy.save writes it."
        )
    return array


def command(words: Sequence[str]) -> int:
    """``nearfar mi``."""
    from nearfar.cli._parse import call

    return call(mi, "nearfar mi", words)
