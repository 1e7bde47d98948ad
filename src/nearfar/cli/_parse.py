"""Functions' signatures as command lines, by jsonargparse; did-you-mean is ours."""

from __future__ import annotations

import re
import sys
from argparse import Action
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, Literal, NoReturn, get_args, get_origin

from jsonargparse import ArgumentParser

from nearfar.errors import did_you_mean


class Parser(ArgumentParser):
    """A parser whose errors suggest what was meant."""

    def read(self, given: Sequence[str]) -> dict[str, Any]:
        """Parse words; ``--batch-size`` is ``--batch_size``.

        A yes-or-no flag may stand alone: ``--fresh`` is ``--fresh true``.
        """
        left, places, flags = [self._spelled(word) for word in given], list[str](), list[str]()
        while left:
            word = left.pop(0)
            flag, equals, _ = word.partition("=")
            action = self._option_string_actions.get(flag)
            if action is None:
                places.append(word)
                continue
            if _hint(action) is bool and not equals and left[:1] not in (["true"], ["false"]):
                left.insert(0, "true")
            most = 0 if equals or action.nargs == 0 else 1 if action.nargs is None else len(left)
            own = list(takewhile(lambda value: not value.startswith("--"), left[:most]))
            flags += [word, *own]
            del left[: len(own)]
        # argparse takes an argument for left out if a flag stands before it.
        values: dict[str, Any] = self.parse_args([*places, *flags]).as_dict()
        return values

    def by_place(self, name: str) -> None:
        """Take a flag's value without the flag, behind those that have no default."""
        action = self._option_string_actions.pop(f"--{name}")
        action.option_strings, action.nargs = [], "?"

    def _spelled(self, word: str) -> str:
        flag, equals, value = word.partition("=")
        spelled = "--" + flag[2:].replace("-", "_")
        known = flag.startswith("--") and spelled in self._option_string_actions
        return spelled + equals + value if known else word

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong in a few lines and leave with status 2."""
        flags = list(self._option_string_actions)
        hints = [
            did_you_mean(word.partition("=")[0], flags)
            for word in re.findall(r"--[\w-]+", message)
            if word not in flags
        ]
        text = re.sub(r"\s+", " ", message).strip()
        said = self._plainly(text) or text + "".join(dict.fromkeys(hints))
        print(f"{self.prog}: {said}", file=sys.stderr)
        print(f"{self.prog} --help lists every flag.", file=sys.stderr)
        raise SystemExit(2)

    def _plainly(self, text: str) -> str:
        """What jsonargparse says of a value of another type, in words; or nothing."""
        found = re.match(r'Parser key "(\w+)": .*?(?:Got|Given) value: ?(.*)', text)
        action = next((one for one in self._actions if found and one.dest == found[1]), None)
        wanted = _wanted(action, found[2]) if found and action else ""
        return f"{found[1]}={found[2]!r}: wanted {wanted}" if found and wanted else ""


def _hint(action: Action) -> Any:
    return getattr(action, "_typehint", None)


def _wanted(action: Action, value: str) -> str:
    """What a parameter takes, or nothing where that is a long story."""
    hint = _hint(action)
    if get_origin(hint) is Literal:
        known = get_args(hint)
        return f"one of {', '.join(known)}.{did_you_mean(value, known)}"
    if hint is bool:
        return "true or false."
    for kind, words, example in ((int, "a whole number", 1000), (float, "a number", 0.1)):
        if kind in (hint, *get_args(hint)):
            such = example if action.default is None else action.default
            typed = " ".join([*action.option_strings[:1], str(such)])
            return f"{words}, such as {typed.replace('_', '-')}."
    return ""


def parser(prog: str, *functions: Callable[..., Any], skip: Sequence[str] = ()) -> Parser:
    """A parser whose flags are the functions' parameters.

    Those without a default come by place, unless they are keyword-only. The items of a list are
    words of their own.

    Args:
        prog: The command.
        functions: Or classes, whose parameters are all flags.
        skip: Parameters that the command has another flag for.
    """
    made = Parser(prog=prog, description=_summary(functions[0]))
    for function in functions:
        add = (
            made.add_class_arguments if isinstance(function, type) else made.add_function_arguments
        )
        by_place = not isinstance(function, type)
        add(function, as_positional=by_place, as_group=True, skip=set(skip))
    for action in made._actions:
        hint = _hint(action)
        if get_origin(hint) is list:
            action.nargs, action.metavar = "+", None
            action.option_strings = action.option_strings[:1]
            action._typehint = get_args(hint)[0]  # type: ignore[attr-defined]
    return made


def call(function: Callable[..., int], prog: str, words: Sequence[str]) -> int:
    """Parse the words by the function's signature and call it."""
    return function(**parser(prog, function).read(words))


def _summary(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").partition("\n")[0]
