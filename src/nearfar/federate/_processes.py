"""Federation over several machines: Flower's SuperLink here, a SuperNode on each client."""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nearfar.errors import NearfarError
from nearfar.federate._plan import Plan
from nearfar.files import replace_text
from nearfar.train import Run

RUN_VARIABLE = "NEARFAR_FEDERATION_RUN"
_START = 120.0
# A node that ends as soon as this has something wrong with it.
_SOON = 15.0
_APP = """\
from nearfar.federate import apps

# Flower looks for assignments.
client = apps.client
server = apps.server
"""
_PROJECT = """\
[project]
name = "nearfar-federation"
version = "1.0.0"
description = "nearfar federate"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "nearfar"

[tool.flwr.app.components]
serverapp = "nearfar_app:server"
clientapp = "nearfar_app:client"

[tool.flwr.app.config]
plan = {plan}
"""


@dataclass(frozen=True, kw_only=True)
class Security:
    """How the connection is kept from others.

    Args:
        certificate: The server's TLS certificate, a PEM file.
        key: Its private key.
        authority: Who signed it: a PEM file. A client needs this one alone.
        insecure: No TLS: whoever is on the way reads weights and embeddings.
    """

    certificate: str | None = None
    key: str | None = None
    authority: str | None = None
    insecure: bool = False


def serve(
    plan: Plan, run: Run, host: str, port: int, security: Security, say: Callable[[str], None]
) -> None:
    """Start a SuperLink, play the plan on whoever connects, and stop it.

    Args:
        plan: Without a split.
        run: Its folder holds Flower's files too, in ``flower/``.
        host: Address to listen on.
        port: And the port.
        security: Certificate and key, or insecure.
        say: Told what happens.

    Raises:
        NearfarError: flwr is missing, the SuperLink does not start, or the run ends early.
    """
    local = host in ("127.0.0.1", "localhost")
    tls = security.certificate and security.key and security.authority
    if not (tls or security.insecure or local):
        raise NearfarError(
            f"host={host!r} is open to others. Wanted --certificate, --key and --authority, or "
            "--insecure to send weights and embeddings in the clear."
        )
    here = "127.0.0.1" if host == "0.0.0.0" else host
    if _open(here, port):
        raise NearfarError(
            f"port={port} is in use on {host}: by another program, or by the SuperLink of a server "
            "that was killed (end flower-superlink). Wanted a free --port."
        )
    home = (run.folder / "flower").resolve()
    app = home / "app"
    replace_text(app / "pyproject.toml", _PROJECT.format(plan=json.dumps(plan.text)))
    replace_text(app / "nearfar_app.py", _APP)
    trust = (
        f"root-certificates = {json.dumps(str(Path(security.authority or '').resolve()))}"
        if tls
        else "insecure = true"
    )
    address = f'[superlink.nearfar]\naddress = "{here}:{port}"\n{trust}\n'
    replace_text(home / "config.toml", f'[superlink]\ndefault = "nearfar"\n\n{address}')
    ssl = ["--insecure"]
    if tls:
        ssl = [
            *("--ssl-certfile", str(security.certificate), "--ssl-keyfile", str(security.key)),
            *("--ssl-ca-certfile", str(security.authority)),
        ]
    words = ["--host", host, "--port", str(port), "--isolation", "subprocess"]
    words += ["--disable-runtime-dependency-installation", *ssl]
    more = {"FLWR_HOME": str(home), RUN_VARIABLE: str(run.folder.resolve())}
    with _process("flower-superlink", words, home / "superlink.log", more) as link:
        _wait_for(link, here, port, home / "superlink.log")
        say(f"waiting for clients on {host}:{port}")
        command = _command("flwr", ["run", str(app), "nearfar", "--stream"])
        subprocess.run(command, env=_environment(more), check=False)
    done = run.state()["round"] if run.checkpoint.is_file() else 0
    if done < plan.federation.rounds:
        raise NearfarError(
            f"The run ended after {done} of {plan.federation.rounds} rounds; above and in "
            f"{str(home / 'superlink.log')!r} is why. The same command goes on from there."
        )


def join(server: str, data: Sequence[str], name: str | None, security: Security) -> int:
    """Start a SuperNode that trains on data of this machine until it is stopped.

    Args:
        server: ``host:port``.
        data: Words that name the data, as the recipe takes them.
        name: Who this is, the same after a restart; by default the machine and the data.
        security: The authority's certificate, or insecure.

    Raises:
        NearfarError: flwr is missing, or neither an authority nor ``insecure``.
    """
    local = server.rpartition(":")[0] in ("127.0.0.1", "localhost")
    if not (security.authority or security.insecure or local):
        raise NearfarError(
            f"server={server!r} is on another machine. Wanted --authority CA.pem to know it by, or "
            "--insecure to send weights and embeddings in the clear."
        )
    paths = [str(Path(word).resolve()) if Path(word).exists() else word for word in data]
    who = name or ":".join([platform.node(), *paths])
    config = f'data="{json.dumps(paths).encode().hex()}" name="{who.encode().hex()}"'
    trust = ["--root-certificates", security.authority] if security.authority else ["--insecure"]
    words = ["--superlink", server, "--node-config", config, "--port", str(_free_port())]
    while True:
        began = time.monotonic()
        with _process("flower-supernode", [*words, *trust], None, {}) as node:
            status = node.wait()
        if time.monotonic() - began < _SOON:
            return status
        # A server that was started again does not know its nodes, and sends them away.


@contextmanager
def _process(
    name: str, words: Sequence[str], log: Path | None, more: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    file = log.open("ab") if log else None
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        process = subprocess.Popen(
            _command(name, words),
            env=_environment(more),
            stdout=file,
            stderr=subprocess.STDOUT if file else None,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
        if file:
            file.close()


def _leave(number: int, frame: object) -> None:
    """A killed command takes Flower's processes with it."""
    raise SystemExit(128 + number)


def _command(name: str, words: Sequence[str]) -> list[str]:
    path = Path(sys.executable).parent / name
    if not path.is_file():
        raise NearfarError(
            f"Flower's {name!r} is not installed beside Python: pip install 'nearfar[federate]'"
        )
    return [str(path), *words]


def _environment(more: dict[str, str]) -> dict[str, str]:
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    # Flower starts its other programs by name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, **quiet, "PATH": path, **more}


def _wait_for(process: subprocess.Popen[bytes], host: str, port: int, log: Path) -> None:
    end = time.monotonic() + _START
    while time.monotonic() < end and process.poll() is None:
        if _open(host, port):
            return
        time.sleep(0.2)
    raise NearfarError(f"The SuperLink did not start on {host}:{port}; see {str(log)!r}.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _open(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0
