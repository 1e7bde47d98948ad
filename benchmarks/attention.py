"""Word alignment with and without telling one head where to look.

    python benchmarks/attention.py

Two languages of WORDS words and a dictionary between them that nobody is told. A sentence is LENGTH
different words, each with one tag out of a few; its translation has the same words in another
order, without tags. The model reads both and must name the tag of every translated word, so it has
to learn the dictionary: which word a word should look at. The fewer tags there are, the less an
answer says about that. One head of the cross-attention is told, by `attention_info_nce`, in one arm
of the experiment and not in the other; all else is the same, sentences and first weights too. Each
arm runs at every learning rate, and its own best counts: the one that reaches the accuracy WANTED
in the fewest steps. Accuracy is on sentences never seen; writes results/attention.json.
"""

from __future__ import annotations

import json
import statistics
import time
from itertools import product
from pathlib import Path

import torch
from machine import describe
from torch import Tensor, nn
from torch.nn import functional

from nearfar.anatomy.attention import attention_info_nce

WORDS, LENGTH, DIM, HEADS = 512, 16, 64, 4
STEPS, EVERY, BATCH, TEST = 300, 10, 32, 256
TAGS, WEIGHTS, RATES, SEEDS, WANTED = (2, 16), (0.0, 1.0), (1e-3, 3e-3, 1e-2), (0, 1, 2), 0.95


class Aligner(nn.Module):
    """One layer that reads the source, one that looks from each translated word to the source."""

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.source, self.tag = nn.Embedding(WORDS, DIM), nn.Embedding(tags, DIM)
        self.translated = nn.Embedding(WORDS, DIM)
        self.read = nn.TransformerEncoderLayer(
            DIM, HEADS, 2 * DIM, dropout=0.0, batch_first=True, norm_first=True
        )
        self.query, self.lift = nn.Linear(DIM, DIM), nn.Linear(DIM, 2 * DIM)
        self.out = nn.Linear(DIM, DIM)
        self.name = nn.Sequential(
            nn.LayerNorm(DIM), nn.Linear(DIM, 2 * DIM), nn.GELU(), nn.Linear(2 * DIM, tags)
        )

    def forward(self, source: Tensor, tags: Tensor, words: Tensor) -> tuple[Tensor, ...]:
        """(B, L, tags) logits; queries and keys of all heads, (B, HEADS, L, DIM / HEADS)."""
        read = self.read(self.source(source) + self.tag(tags))
        asked = self.translated(words)
        q, k, v = (
            x.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for x in (self.query(asked), *self.lift(read).chunk(2, -1))
        )
        seen = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.name(asked + self.out(seen)), q, k


def sentences(
    dictionary: Tensor, kinds: int, count: int, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Source words, their tags, translated words, and for each of these the place of its source."""
    source = torch.rand(count, WORDS, generator=generator).argsort(1)[:, :LENGTH]
    tags = torch.randint(kinds, (count, LENGTH), generator=generator)
    order = torch.rand(count, LENGTH, generator=generator).argsort(1)
    return source, tags, dictionary[source.gather(1, order)], order


def train(kinds: int, weight: float, rate: float, seed: int) -> dict[str, object]:
    """Accuracy on new sentences every few steps, and what one head pays to the right word."""
    torch.manual_seed(seed)
    model = Aligner(kinds)
    generator = torch.Generator().manual_seed(1000 + seed)
    dictionary = torch.randperm(WORDS, generator=generator)
    test = sentences(dictionary, kinds, TEST, generator)
    optimiser = torch.optim.AdamW(model.parameters(), rate)
    curve: list[float] = []
    began, spent = time.perf_counter(), 0.0
    for step in range(1, STEPS + 1):
        source, tags, words, order = sentences(dictionary, kinds, BATCH, generator)
        logits, q, k = model(source, tags, words)
        loss = functional.cross_entropy(logits.flatten(0, 1), tags.gather(1, order).flatten())
        if weight:
            loss = loss + weight * attention_info_nce(q[:, :1], k[:, :1], order[:, None])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % EVERY == 0:
            spent += time.perf_counter() - began
            curve.append(judge(model, test)["accuracy"])
            began = time.perf_counter()
    reached = next((EVERY * (i + 1) for i, right in enumerate(curve) if right >= WANTED), None)
    return {
        "tags": kinds,
        "attention_loss": weight,
        "rate": rate,
        "seed": seed,
        "steps_to_wanted": reached,
        "final_accuracy": curve[-1],
        **{f"final_{name}": x for name, x in judge(model, test).items() if name != "accuracy"},
        "milliseconds_a_step": round(1000 * spent / STEPS, 2),
        "curve": [round(right, 4) for right in curve],
    }


@torch.no_grad()
def judge(model: Aligner, test: tuple[Tensor, ...]) -> dict[str, float]:
    """Share of tags named right, and the share of attention at the right word, by head."""
    source, tags, words, order = test
    logits, q, k = model(source, tags, words)
    right = (logits.argmax(-1) == tags.gather(1, order)).double().mean().item()
    weights = (q @ k.mT / (DIM / HEADS) ** 0.5).softmax(-1)
    paid = weights.gather(-1, order[:, None, :, None].expand(-1, HEADS, -1, -1))
    shares = paid.mean((0, 2, 3)).tolist()
    return {
        "accuracy": right,
        "attention_of_told_head": shares[0],
        "attention_of_best": max(shares),
    }


def best(runs: list[dict], kinds: int, weight: float) -> dict[str, object]:
    """An arm at the learning rate that brings it to WANTED in the fewest steps, on average.

    A run that never gets there counts as EVERY steps more than the last.
    """
    found = []
    for rate in RATES:
        arm = {"tags": kinds, "attention_loss": weight, "rate": rate}
        own = [run for run in runs if arm.items() <= run.items()]
        steps = [run["steps_to_wanted"] for run in own]
        final = [run["final_accuracy"] for run in own]
        found.append(
            {
                **arm,
                "steps_to_wanted": steps,
                "mean_steps": round(statistics.mean(x or STEPS + EVERY for x in steps), 1),
                "final_accuracy": [round(x, 4) for x in final],
                "mean_final_accuracy": round(statistics.mean(final), 4),
            }
        )
    return min(found, key=lambda arm: arm["mean_steps"])


def main() -> None:
    """Every number of tags, arm, rate and seed."""
    torch.set_num_threads(1)
    runs = []
    for kinds, weight, rate, seed in product(TAGS, WEIGHTS, RATES, SEEDS):
        runs.append(train(kinds, weight, rate, seed))
        print({name: x for name, x in runs[-1].items() if name != "curve"}, flush=True)
    result = {
        **describe(),
        "task": {
            "words": WORDS,
            "length": LENGTH,
            "dim": DIM,
            "heads": HEADS,
            "steps": STEPS,
            "judged_every": EVERY,
            "batch": BATCH,
            "test_sentences": TEST,
            "wanted": WANTED,
        },
        "best": [best(runs, kinds, weight) for kinds, weight in product(TAGS, WEIGHTS)],
        "runs": runs,
    }
    path = Path(__file__).parent / "results" / "attention.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["best"], indent=1))


if __name__ == "__main__":
    main()
