"""The tables of docs/translation.md: python benchmarks/translation.py PART DATA

DATA is a folder with multi30k, tatoeba_test, tatoeba_train, software_strings and freedict. Figures
go to benchmarks/results/translation.json. Multi30k's training pairs are learned from, less those
that share a sentence with any validation or test set; settings and the threshold of mining were
chosen on its validation pairs and on Tatoeba pairs outside the test; nothing on the tests.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from translation_data import Data, write_pairs
from translation_judge import figures
from translation_opponents import opponents

import nearfar
from nearfar.cli import main as nearfar_command
from nearfar.pairs.translation import Bitext

RESULTS = Path(__file__).parent / "results" / "translation.json"
BAG = ["--encoder", "bag"]
FULL: list[str] = []
# What is left out or put in, beside the whole; fewer steps, so that all have the same budget.
PARTS = {
    "whole": [],
    "no fakes": ["--fakes", "0"],
    "nothing dropped": ["--drop", "0"],
    "a fifth dropped": ["--drop", "0.2"],
    "masked words": ["--masked_words", "0.1"],
    "masked pairs": ["--masked_words", "0.1", "--masked_pairs", "true"],
    "margin 0.1": ["--margin", "0.1"],
    "temperature 0.03": ["--temperature", "0.03"],
    "temperature 0.07": ["--temperature", "0.07"],
}


def trained(words: list[str], data: Data, out: Path, seed: int, path: str | None = None) -> Path:
    """Train by the command line, unless the run is there."""
    if not (out / "model").is_dir():
        command = ["train", "translation", path or data.train, *words, "--exclude", data.exclude]
        if path is None:
            command += ["--languages", f"en,{data.other}"]
        assert nearfar_command([*command, "--seed", str(seed), "--out", str(out)]) == 0
    return out


def judged(
    run: Path, data: Data, *, untrained: bool = False, full: bool = True
) -> dict[str, float]:
    """Every figure of a run, and the minutes and steps that it took."""
    weights = run / "checkpoints" / "untrained.safetensors" if untrained else None
    model = nearfar.load(run, weights=weights)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    took = {} if untrained else {"minutes": lines[-1]["seconds"] / 60, "steps": lines[-1]["step"]}
    return figures(model.embed, model.embed, data, full=full) | took


def main() -> None:
    """Make one table, print it and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["main", "opponents", "parts", "curve"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--other", default="de", choices=["de", "fr"])
    parser.add_argument("--work", type=Path, default=Path("runs/translation"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=200, help="of each run of parts and curve")
    parser.add_argument("--only", nargs="+", help="rows of parts")
    words = parser.parse_args()
    data, work = Data(words.data, words.other), words.work / words.other
    if words.part == "opponents":
        for name, embeds in opponents(data).items():
            keep(words.other, name, figures(*embeds, data))
        return
    for seed in words.seeds:
        bag = trained(BAG, data, work / f"bag{seed}", seed)
        if words.part == "main":
            run = trained([*FULL, "--start", str(bag)], data, work / f"transformer{seed}", seed)
            keep(words.other, f"transformer, seed {seed}", judged(run, data))
            keep(words.other, f"bag of subwords, seed {seed}", judged(bag, data))
            if seed == words.seeds[0]:
                plain = judged(run, data, untrained=True, full=False)
                keep(words.other, "transformer with the bag's vectors, before training", plain)
        elif words.part == "parts":
            for name, change in PARTS.items():
                if words.only and name not in words.only:
                    continue
                settings = [*FULL, *change, "--steps", str(words.steps), "--start", str(bag)]
                run = trained(settings, data, work / f"{name.replace(' ', '_')}{seed}", seed)
                keep(f"parts {words.other}", f"{name}, seed {seed}", judged(run, data))
            if not words.only or "from nothing" in words.only:
                settings = [*FULL, "--steps", str(words.steps)]
                run = trained(settings, data, work / f"from_nothing{seed}", seed)
                keep(f"parts {words.other}", f"from nothing, seed {seed}", judged(run, data))
        else:
            curve(data, work, seed, words.steps)


def curve(data: Data, work: Path, seed: int, steps: int) -> None:
    """Parallel pairs against what is found, with and without masked words in all sentences."""
    every, _ = Bitext.read(data.train, f"en,{data.other}")
    left, right = every.sides()["en", data.other]
    everything = work / "monolingual.txt"
    everything.write_text("\n".join([*left, *right]) + "\n", encoding="utf-8")
    for count in (1000, 3000, 10_000, 29_000):
        path = write_pairs(
            work / f"first{count}.tsv", ["en", data.other], left[:count], right[:count]
        )
        for name, weight in (("with", "1"), ("without", "0")):
            # One vocabulary and no bag: nothing but the words' own game differs.
            settings = ["--steps", str(steps), "--held_out", "0", "--fakes", "0"]
            settings += ["--masked_words", weight]
            settings += ["--tokenizer", str(tokenizer(work, left, right))]
            settings += ["--monolingual", str(everything)] if weight != "0" else []
            out = work / f"curve_{name}_{count}_{seed}"
            run = trained(settings, data, out, seed, str(path))
            found = judged(run, data, full=False)
            keep(f"curve {data.other}", f"{count} {name}, seed {seed}", found)


def tokenizer(work: Path, left: list[str], right: list[str]) -> Path:
    """One vocabulary for all points of the curve, learned from all training sentences."""
    from nearfar.pairs.translation import train_tokenizer

    file = work / "tokenizer.json"
    if not file.is_file():
        file.write_text(train_tokenizer([*left, *right]), encoding="utf-8")
    return file


def keep(table: str, row: str, found: dict[str, float]) -> None:
    """Print a row, and write it beside the others."""
    every = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    every.setdefault(table, {})[row] = {name: round(value, 4) for name, value in found.items()}
    RESULTS.write_text(json.dumps(every, indent=1) + "\n")
    print(table, row, json.dumps(every[table][row]), flush=True)


if __name__ == "__main__":
    main()
