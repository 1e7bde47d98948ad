"""Find translations in two files of sentences: nearfar mine A.txt B.txt --run RUN"""

from __future__ import annotations

from collections.abc import Sequence


def mine(
    left: str,
    right: str,
    run: str = "runs/translation",
    out: str = "mined.tsv",
    tune: str | None = None,
    threshold: float | None = None,
    k: int = 4,
    json: bool = False,
) -> int:
    """Write pairs of sentences with their scores, the surest first, each sentence at most once.

    The score is the ratio margin (Artetxe & Schwenk 2019): how much nearer two sentences are than
    their neighbourhoods; 1 is no nearer.

    Args:
        left: A file with a sentence a line, plain or .gz.
        right: Another, in another language.
        run: A run folder of a model that embeds sentences.
        out: File to write: score, left and right sentence, with tabs between them.
        tune: Known translations, not among the files; their best threshold is taken.
        threshold: Write only pairs that score this or more; by default all candidates.
        k: Neighbours on each side that a similarity is measured against.
        json: Print the figures as JSON.
    """
    from pathlib import Path

    from nearfar.cli import _show as show
    from nearfar.errors import NearfarError
    from nearfar.files import replacing
    from nearfar.model import load
    from nearfar.pairs.translation import Bitext, different
    from nearfar.probes import Margin, best_threshold, thirds

    if tune is not None and threshold is not None:
        raise NearfarError(f"tune={tune!r} and threshold={threshold} are two ways to one number.")
    model = load(run)
    skipped: dict[str, str] = {}
    sides = []
    for path in (left, right):
        found = model.reader.find(path)
        if not isinstance(found.items, Bitext):
            raise NearfarError(f"run={run!r} does not embed sentences; wanted a translation run.")
        skipped |= found.skipped
        sides.append(list(dict.fromkeys(found.items.texts)))
    if tune is not None:
        pairs = next(iter(different(Bitext.read(tune)[0]).sides().values()), ([], []))
        if len(pairs[0]) < 9:
            raise NearfarError(
                f"tune={tune!r} holds {len(pairs[0])} different pairs; wanted 9 or more, better "
                "a thousand."
            )
        threshold = best_threshold(*thirds(*(model.embed(side) for side in pairs)))
    # A place that cannot be written to is found before the work.
    with replacing(Path(out)) as file:
        one, two = (model.embed(side, progress=True) for side in sides)
        rows, others, margins = Margin.of(one, two, k).candidates()
        kept = margins >= (-float("inf") if threshold is None else threshold)
        lines = [
            f"{score:.4f}\t{sides[0][row]}\t{sides[1][other]}\n"
            for score, row, other in zip(margins[kept], rows[kept], others[kept], strict=True)
        ]
        file.write("".join(lines).encode())
    console = show.out(json)
    show.show_skipped(console, skipped)
    said = "no threshold" if threshold is None else f"margin {threshold:.3f} or more"
    console.print(
        f"{len(lines):,} pairs in {out} ({said}) of {len(sides[0]):,} and {len(sides[1]):,} "
        "different sentences"
    )
    if json:
        show.print_json(
            {
                "out": out,
                "pairs": len(lines),
                "threshold": threshold,
                "sentences": [len(side) for side in sides],
                "skipped": skipped,
            }
        )
    return 0


def command(words: Sequence[str]) -> int:
    """``nearfar mine``."""
    from nearfar.cli._parse import call

    return call(mine, "nearfar mine", words)
