"""What releases of noisy embeddings cost in privacy, accounted by Google's dp-accounting."""

from __future__ import annotations

from typing import Any

from nearfar.errors import NearfarError
from nearfar.federate._federation import Federation


def calibrated(federation: Federation) -> float:
    """Standard deviation of the noise of each release of a run; 0 for none."""
    if federation.epsilon is None:
        return 0.0
    releases = sum(map(federation.releases, range(federation.rounds)))
    return noise_for(federation.epsilon, federation.delta, releases)


def ledger(federation: Federation, noise: float, releases: dict[int, int]) -> dict[str, Any]:
    """What was released so far, and what that costs in privacy.

    Args:
        federation: Its epsilon and delta.
        noise: Standard deviation.
        releases: Of each client, by its id.
    """
    most = max(releases.values(), default=0)
    private = federation.share != "nothing" and federation.epsilon is not None
    return {
        "covers": "what clients share with the bank; not their weights",
        "share": federation.share,
        "noise": noise,
        "neighbours": "one item of a client replaced",
        "delta": federation.delta,
        "releases": {str(owner): n for owner, n in sorted(releases.items())},
        "epsilon": spent(noise, federation.delta, most) if private else None,
    }


def noise_for(epsilon: float, delta: float, releases: int) -> float:
    """Standard deviation of the noise with which so many releases cost (epsilon, delta).

    Neighbouring data differ in one item, which is replaced by another. Each item is in one vector
    of a release at most (`release` sees to it), with a length of at most 1, so that a release moves
    by 2. Nothing is taken off for sampling: the server may know which items were drawn.

    Args:
        epsilon: For all releases together.
        delta: The same.
        releases: How many.

    Raises:
        NearfarError: The package dp-accounting is missing.
    """
    library, _ = _library()
    return float(
        library.calibrate_dp_mechanism(
            _accountant, lambda noise: _event(noise, releases), epsilon, delta
        )
    )


def spent(noise: float, delta: float, releases: int) -> float:
    """The epsilon of so many releases with this noise; infinite without noise.

    Args:
        noise: Standard deviation.
        delta: See `noise_for`.
        releases: How many there were.
    """
    if not releases or not noise:
        return float("inf") if releases else 0.0
    return float(_accountant().compose(_event(noise, releases)).get_epsilon(delta))


def _event(noise: float, releases: int) -> Any:
    library, _ = _library()
    return library.SelfComposedDpEvent(library.GaussianDpEvent(noise), releases)


def _accountant() -> Any:
    library, pld = _library()
    # A coarser grid than the default is ten times faster, and still an upper bound.
    return pld.PLDAccountant(library.NeighboringRelation.REPLACE_ONE, 1e-3)


def _library() -> tuple[Any, Any]:
    try:
        import dp_accounting
        from dp_accounting import pld
    except ImportError as error:
        raise NearfarError(
            "epsilon is accounted by the package dp-accounting, which is not installed: "
            "pip install 'nearfar[federate]'"
        ) from error
    return dp_accounting, pld
