"""Test whether batch norm gives away the partner: nearfar audit RUN"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from nearfar.anatomy.leakage import Audit
    from nearfar.experiment import Train
    from nearfar.probes import Shortcuts


def audit(run: str, devices: int = 8, per_device: int | None = None, json: bool = False) -> int:
    """Test what a trained model would give away on several devices with statistics of their own.

    A batch of the run's pairs is shared out among virtual devices, in this process; the model is in
    training mode and stays as it was. The game is played within the batch. Where the data are
    sound files with labels, their sample rate, length and loudness are tested too: alone, they
    should not tell the label.

    Args:
        run: A run folder.
        devices: Virtual devices.
        per_device: Pairs on each; by default the run's batch is shared out.
        json: Print the figures as JSON.
    """
    from dataclasses import asdict

    import torch

    from nearfar.anatomy.leakage import audit as examine
    from nearfar.cli import _show as show
    from nearfar.cli._rebuild import rebuilt
    from nearfar.errors import NearfarError
    from nearfar.pairs import batch_rows, seeded
    from nearfar.train import Run, plan

    experiment, train = rebuilt(Run(run))
    batch_size = plan(experiment, train).batch_size
    each = max(2, batch_size // max(devices, 1)) if per_device is None else per_device
    wanted, items = devices * each, len(experiment.pairs)
    if devices < 2 or each < 2 or wanted > items:
        raise NearfarError(
            f"devices={devices} with {each} pairs on each make a batch of {wanted}; wanted 2 or "
            f"more devices, 2 or more on each, and at most the {items} items of the data."
        )
    with seeded(train.seed, 0):
        rows = batch_rows(items, wanted, train.seed, 0)
        batch = experiment.pairs.draw(rows, torch.device("cpu"))
    found = examine(
        experiment.model,
        batch.query,
        batch.key,
        devices,
        experiment.temperature,
        ids=batch.ids,
        seed=train.seed,
    )
    # Pairs whose files may tell their labels by what is no part of them say so.
    asked = getattr(experiment.pairs, "shortcuts", None)
    told: Shortcuts | None = asked() if asked else None
    if json:
        extra = {"shortcuts": asdict(told)} if told else {}
        show.print_json({"run": run, **asdict(found), **extra})
        return 0
    console = show.out()
    console.print(_table(found))
    show.say(console, "verdict", found.verdict)
    show.say(console, "to do", found.mend)
    if found.batch_norms:
        show.say(console, "note", _note(train, batch_size))
    if told:
        alone = ", ".join(f"{name} {share:.1%}" for name, share in told.accuracy.items())
        show.say(console, "files", f"{told.verdict} ({alone}; {told.items:,} files)")
    return 0


def _table(found: Audit) -> Table:
    from rich.table import Table

    gap = found.gaps[0]
    title = f"{gap.devices} virtual devices of {gap.per_device} pairs, in training mode"
    table = Table(title=title, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    synchronised = f", {found.synchronised} synchronised" if found.synchronised else ""
    table.add_row("batch norms", f"{found.batch_norms}{synchronised}")
    table.add_row("coupling: an embedding's move with its companions", f"{found.coupling:.3g}")
    table.add_row("loss, keys on their queries' devices (nats)", f"{gap.loss:.3f}")
    table.add_row("loss, keys anywhere (nats)", f"{gap.loss + gap.nats:.3f}")
    table.add_row("placement gap (nats)", f"{gap.nats:+.3f}")
    table.add_row("  95 % interval", f"{gap.low:+.3f} to {gap.high:+.3f}")
    table.add_row(f"  p, {gap.rounds} placements", f"{gap.p:.2g}")
    return table


def _note(train: Train, batch_size: int) -> str:
    """What the run's own batch norms saw."""
    # On several devices they are synchronised, and see the chunks of all of them at once.
    chunk = batch_size if train.cache_chunk is None else train.cache_chunk * train.devices
    if chunk < batch_size:
        return (
            f"This run encoded {chunk} pairs at a time, and to a batch norm a chunk is a device: "
            f"--devices {-(-batch_size // chunk)} --per-device {chunk} audits the run itself."
        )
    trained = (
        "one device, whose batch norms"
        if train.devices == 1
        else f"{train.devices} devices, whose synchronised batch norms"
    )
    return (
        f"This run was trained on {trained} saw all of the batch: nothing leaked there. The audit "
        "is of the same model on several with statistics of their own."
    )


def command(words: Sequence[str]) -> int:
    """``nearfar audit``."""
    from nearfar.cli._parse import call

    return call(audit, "nearfar audit", words)
