"""The command line. A file here is a command: its function's signature is its flags."""

from nearfar.cli._main import main

__all__ = ["main"]
