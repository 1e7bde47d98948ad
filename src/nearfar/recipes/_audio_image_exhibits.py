"""What the report of an audio_image run shows: clocks, and clips beside their nearest pictures."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from nearfar.experiment import Exhibit
from nearfar.model import Model
from nearfar.pairs.audio_image import Opinion, SenseReader, Stream, TimePairs, near, right_times

_SHOWN, _BESIDE = 10, 8


def remarks(pairs: TimePairs, heard: Stream, seen: Stream) -> list[str]:
    """How many of what, how they are paired, and the clocks.

    Args:
        pairs: What is trained on.
        heard: Clips that are left out.
        seen: Pictures that are left out.
    """
    lonely = int(pairs.partners.lonely.sum())
    out = [
        f"{len(pairs.sounds.names):,} clips and {len(pairs.pictures.names):,} pictures to learn "
        f"from, {len(heard.moments.names):,} and {len(seen.moments.names):,} of later times left "
        f"out; {lonely:,} clips have no picture within {pairs.widest:.0f} s.",
        *(line[0].upper() + line[1:] + "." for line in pairs.clocks.lines()),
    ]
    if pairs.clocks.lost():
        out.append(
            f"Until a clock is found, partners are looked for within {pairs.blind:.0f} s, and the "
            "model's scores are asked for the clock after 30, 50 and 70 % of the steps; the report "
            "says what they found."
        )
    return out


def exhibits(pairs: TimePairs, heard: Stream, seen: Stream, model: Model) -> list[Exhibit]:
    """Two sections.

    Args:
        pairs: What was trained on.
        heard: Clips that were left out; the training's are shown where there are none.
        seen: Likewise pictures.
        model: The trained one.
    """
    if len(heard.moments.names) < 2 or len(seen.moments.names) < 2:
        heard = Stream(pairs.sounds, pairs.waves)
        seen = Stream(pairs.pictures, pairs.pixels)
    vectors = [
        model.embed(list(heard.data.numpy())),
        model.embed(list(seen.data.permute(0, 2, 3, 1).numpy())),
    ]
    return [_clock(pairs, heard, seen, vectors), _clips(model, heard, seen, vectors)]


def _clock(
    pairs: TimePairs, heard: Stream, seen: Stream, vectors: list[NDArray[np.float32]]
) -> Exhibit:
    """How well the model finds a clip's moment if the recorders' clocks were moved further."""
    ears = right_times(heard.moments, pairs.clocks.sounds)[0]
    eyes = right_times(seen.moments, pairs.clocks.pictures)[0]
    step = max(pairs.widest / 6, 5.0)
    moves = [float(step * number) for number in range(-40, 41)]
    opinion = Opinion(vectors[0], vectors[1], pairs.temperature)
    means, counts = [], []
    for move in moves:
        i, j = near(ears + move, eyes, step)
        means.append(float(opinion(i, j).mean()) if len(i) else 0.0)
        counts.append(float(len(i)))
    top = max(max(counts), 1.0)
    lines = " ".join(line[0].upper() + line[1:] + "." for line in pairs.clocks.lines())
    return Exhibit(
        title="Clocks",
        text=f"{lines} The curves move the recorders' clocks further, over clips and pictures that "
        "training left out: where a clock is right, both peak at 0, the model's only if it has "
        "learned something.",
        curves={
            "log-likelihood ratio of coinciding pairs, by the model": (moves, means),
            "coincidences, share of the most": (moves, [count / top for count in counts]),
        },
        x="seconds by which the clock is moved",
        y="model's opinion; share",
    )


def _clips(
    model: Model, heard: Stream, seen: Stream, vectors: list[NDArray[np.float32]]
) -> Exhibit:
    reader = model.reader
    assert isinstance(reader, SenseReader)
    rows = np.unique(np.linspace(0, len(vectors[0]) - 1, _SHOWN).round().astype(int))
    nearest = np.argsort(-(vectors[0][rows] @ vectors[1].T), axis=1)[:, :_BESIDE]
    labels = heard.moments.labels
    said = ", ".join(labels[row] or heard.moments.names[row] for row in rows)
    return Exhibit(
        title="Clips and their nearest pictures",
        text=f"Play a clip; beside it its bands over time, then the {_BESIDE} pictures nearest to "
        f"it, of those that training left out. The clips: {said}.",
        sounds=[
            (
                _wav(heard.data[row].numpy(), reader.rate),
                _strip(
                    reader, [heard.data[row].numpy(), *seen.data[near].permute(0, 2, 3, 1).numpy()]
                ),
            )
            for row, near in zip(rows, nearest, strict=True)
        ],
    )


def _strip(reader: SenseReader, items: list[NDArray[np.generic]]) -> NDArray[np.uint8]:
    looks = reader.pictures(items).numpy()
    scale = max(1, 64 // looks.shape[1])
    looks = looks.repeat(scale, 1).repeat(scale, 2)
    gap = np.full((looks.shape[1], 4, 3), 255, np.uint8)
    out: NDArray[np.uint8] = np.concatenate(
        [part for look in looks for part in (look, gap)], axis=1
    )
    return out


def _wav(wave: NDArray[np.int16], rate: int) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
