"""How clients learn one encoder together (`Federation`), and who holds what (`Split`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nearfar.errors import NearfarError, check_range
from nearfar.experiment import Train


@dataclass(frozen=True, kw_only=True)
class Federation:
    """How to train over many clients; the same for every recipe.

    Args:
        out: The server's run folder; the same folder again resumes.
        rounds: Times that clients train and the server averages their weights.
        local_steps: Optimiser steps of each client in a round.
        batch_size: Items a step; the recipe knows a good number. A client with fewer takes all.
        lr: Highest learning rate; the recipe knows a good one.
        weight_decay: On weight matrices only, not on biases and norms.
        optimizer: adamw, sgd (momentum 0.9) or lars; each round begins with a fresh one.
        warmup: Share of the steps in which the rate rises; then it falls as a cosine.
        norms: What batch norms do on a client. local: each batch by itself, and the running
            statistics are averaged. group: group norms take their place, so that nothing depends on
            who else is in a batch.
        share: What clients give to the shared bank of negatives. keys: embeddings of single items.
            sums: of groups of items, of which no single one can be read. nothing: no bank.
        weight: Of the game against the bank, beside the recipe's own.
        bank: Entries that the bank holds.
        contribution: Entries of one client, at most; the older ones leave.
        sync: Rounds from one sharing to the next.
        max_age: Entries older than so many rounds are left out.
        fade: An entry that is t rounds old counts fade ** t times; 1 for all the same.
        group: Items in a sum.
        epsilon: Gaussian noise on what is shared, so that all of a client's releases together are
            (epsilon, delta)-differentially private; none by default. The weights are not covered.
        delta: See epsilon.
        secure: Secure aggregation: the server sees the sum of the clients' weights, and no single
            client's. Needs --least 3 or more; what clients share with the bank is not covered.
        least: Clients that must answer, or the round counts for nothing.
        wait: Seconds until a round goes on without those that have not answered.
        accelerator: What clients train on: cpu, cuda, mps or auto.
        seed: All randomness follows from it, that of the noise excepted.
        fresh: Start over even if the folder holds a run; once the new one can be gone on with, the
            old one is deleted.
    """

    out: str | None = None
    rounds: int = 20
    local_steps: int = 10
    batch_size: int | None = None
    lr: float | None = None
    weight_decay: float = 1e-4
    optimizer: Literal["adamw", "sgd", "lars"] = "adamw"
    warmup: float = 0.1
    norms: Literal["local", "group"] = "local"
    share: Literal["keys", "sums", "nothing"] = "keys"
    weight: float = 0.3
    bank: int = 4096
    contribution: int = 64
    sync: int = 1
    max_age: int = 8
    fade: float = 1.0
    group: int = 50
    epsilon: float | None = None
    delta: float = 1e-5
    secure: bool = False
    least: int = 1
    wait: float = 3600.0
    accelerator: str = "auto"
    seed: int = 0
    fresh: bool = False

    def __post_init__(self) -> None:
        check_range(1, rounds=self.rounds, local_steps=self.local_steps, least=self.least)
        check_range(1, bank=self.bank, contribution=self.contribution)
        check_range(1, sync=self.sync, group=self.group)
        check_range(0, max_age=self.max_age, weight=self.weight, wait=self.wait, seed=self.seed)
        if not 0 < self.fade <= 1:
            raise NearfarError(
                f"fade={self.fade}: wanted what an entry keeps of its weight in a round, "
                "0 < fade <= 1."
            )
        if self.epsilon is not None and self.epsilon <= 0:
            raise NearfarError(f"epsilon={self.epsilon}: wanted a positive number, or none.")
        if not 0 < self.delta < 1:
            raise NearfarError(f"delta={self.delta}: wanted a small share, such as 1e-5.")
        if self.epsilon is not None and self.share == "nothing":
            raise NearfarError(
                f"epsilon={self.epsilon} is about what clients share beside weights, and "
                "share='nothing'. Wanted --share sums (or keys), or no epsilon."
            )
        if self.secure and self.least < 3:
            raise NearfarError(
                f"least={self.least}: a sum over one client hides nothing, and over two nothing "
                "from each other. Wanted --least 3 or more with --secure true."
            )
        self.train()

    def train(self) -> Train:
        """How a client takes its steps, in the words of `Train`."""
        return Train(
            steps=self.rounds * self.local_steps,
            batch_size=self.batch_size,
            lr=self.lr,
            weight_decay=self.weight_decay,
            optimizer=self.optimizer,
            warmup=self.warmup,
            precision="32-true",
            accelerator=self.accelerator,
            seed=self.seed,
        )

    def releases(self, number: int) -> bool:
        """Whether clients share in this round."""
        return self.share != "nothing" and number % self.sync == 0


@dataclass(frozen=True, kw_only=True)
class Split:
    """How one data set is dealt out to simulated clients.

    Args:
        clients: How many there are.
        split: iid: at random. label-skew: each client holds a few labels. dirichlet: each label is
            dealt out in random shares.
        classes: Labels of a client, for label-skew.
        alpha: Concentration of dirichlet; small is skewed (Hsu et al. 2019, arXiv 1909.06335).
    """

    clients: int = 10
    split: Literal["iid", "label-skew", "dirichlet"] = "iid"
    classes: int = 2
    alpha: float = 0.5

    def __post_init__(self) -> None:
        for name in ("clients", "classes", "alpha"):
            if getattr(self, name) <= 0:
                raise NearfarError(f"{name}={getattr(self, name)}: wanted a positive number.")
