"""The tables of docs/translation.md, from its results: benchmarks/translation_table.py"""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "translation.json"
COLUMNS = {
    "2016": "test_2016_flickr",
    "2016 m": "test_2016_flickr m",
    "2017 m": "test_2017_flickr m",
    "pool": "pool",
    "pool m": "pool m",
    "Tatoeba": "tatoeba",
    "Tatoeba m": "tatoeba m",
}
SINGLE = {
    "mining F1": "mining F1",
    "by cosine": "mining F1, cosine",
    "> shuffled": "word order",
    "> number": "number",
    "> colour": "colour",
    "> negation": "negation",
}


def cell(row: dict[str, float], key: str) -> str:
    """Both directions."""
    name, _, margin = key.partition(" ")
    ways = [f"{name} {way}{' margin' if margin else ''}" for way in ("there", "back")]
    return " / ".join(f"{row[way]:.1f}" for way in ways) if ways[0] in row else ""


def single(row: dict[str, float], key: str) -> str:
    """One figure."""
    if key not in row:
        return ""
    return f"{row[key]:.3f}" if key.startswith("mining") else f"{row[key]:.1f}"


def main() -> None:
    """Print each table twice: what is found, and what is told apart."""
    for table, rows in json.loads(RESULTS.read_text()).items():
        print(f"\n{table}\n")
        for columns, show in ((COLUMNS, cell), (SINGLE, single)):
            print("| features | " + " | ".join(columns) + " |")
            print("|---" * (len(columns) + 1) + "|")
            for name, row in rows.items():
                cells = [show(row, key) for key in columns.values()]
                print(f"| {name} | " + " | ".join(cells) + " |")
            print()


if __name__ == "__main__":
    main()
