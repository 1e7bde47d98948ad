"""Functions' signatures as command lines, by jsonargparse; did-you-mean is ours."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from nearfar.errors import did_you_mean


class Parser(ArgumentParser):
    """A parser whose errors suggest what was meant."""

    def read(self, given: Sequence[str]) -> dict[str, Any]:
        """Parse words; ``--batch-size`` is ``--batch_size``.

        A yes-or-no flag may stand alone: ``--fresh`` is ``--fresh true``.
        """
        words, switches = [self._spelled(word) for word in given], self._switches()
        for place, word in enumerate(words):
            after = words[place + 1 : place + 2]
            if word in switches and after not in (["true"], ["false"]):
                words[place] = f"{word}=true"
        values: dict[str, Any] = self.parse_args(words).as_dict()
        return values

    def _spelled(self, word: str) -> str:
        flag, equals, value = word.partition("=")
        spelled = "--" + flag[2:].replace("-", "_")
        known = flag.startswith("--") and spelled in self._option_string_actions
        return spelled + equals + value if known else word

    def _switches(self) -> set[str]:
        switches = [a for a in self._actions if getattr(a, "_typehint", None) is bool]
        return {flag for action in switches for flag in action.option_strings}

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong in a few lines and leave with status 2."""
        flags = [flag for action in self._actions for flag in action.option_strings]
        hints = [
            did_you_mean(word.partition("=")[0], flags)
            for word in re.findall(r"--[\w-]+", message)
            if word not in flags
        ]
        text = re.sub(r"\s+", " ", message).strip()
        print(f"{self.prog}: {text}{''.join(dict.fromkeys(hints))}", file=sys.stderr)
        print(f"{self.prog} --help lists every flag.", file=sys.stderr)
        raise SystemExit(2)


def parser(prog: str, *functions: Callable[..., Any]) -> Parser:
    """A parser whose flags are the functions' parameters; those without a default come by place."""
    made = Parser(prog=prog, description=_summary(functions[0]))
    for function in functions:
        add = (
            made.add_class_arguments if isinstance(function, type) else made.add_function_arguments
        )
        add(function, as_positional=not isinstance(function, type), as_group=True)
    return made


def call(function: Callable[..., int], prog: str, words: Sequence[str]) -> int:
    """Parse the words by the function's signature and call it."""
    return function(**parser(prog, function).read(words))


def _summary(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").partition("\n")[0]
