"""Pickles of others, taken apart without running anything of them.

A pickle is a program for a stack machine. Here that machine has the few instructions that files of arrays need, and it
calls nothing: a constructor that the reader knows becomes a ``Constructed`` with its arguments, any other name ends the
reading. Nothing that a file declares takes memory before the bytes for it have been read, and no key of a dictionary
is anything but text, so that neither nesting nor sharing costs more than the file is long. What comes out may still be
nested and shared as its author likes: who takes it reads what has been found to be a number, text or bytes, and nothing
else of it is compared, printed or walked through.
"""

from __future__ import annotations

import io
import itertools
import pickletools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.foreign import short

OTHER = "omp runs nothing of a pickle; give the arrays as an npz"
_MOST = 20_000
"""Instructions of a pickle; policies of hand_dapg and of Stable-Baselines3 have fewer than 2,000."""


@dataclass(eq=False)
class Constructed:
    """What a constructor was to make, or the constructor itself.

    Attributes:
        name: the constructor, "module name"; "" for what lies elsewhere in a file, and its argument says where.
        arguments: the arguments of its call; None where it was not called.
        items: set by key afterwards.
        state: set as a whole afterwards.
    """

    name: str
    arguments: tuple[Any, ...] | None = None
    items: dict[str, Any] = field(default_factory=dict)
    state: Any = None


_MARK = object()


def taken_apart(stream: io.BytesIO, known: Collection[str], where: str) -> Any:
    """The next pickle of a stream: None, numbers, text, bytes, tuples, lists, dictionaries by text, ``Constructed``.

    Args:
        stream: where it begins; afterwards just behind it.
        known: the constructors that may be named, "module name".
        where: what messages begin with.

    Raises:
        DataError: it names another constructor, has an instruction that such files do not need or far too many, or is
            damaged.
    """
    machine = _Machine(frozenset(known), where)
    try:
        for operation, argument, _ in itertools.islice(pickletools.genops(stream), _MOST):
            if operation.name == "STOP":
                return machine.pop()
            machine.do(operation.name, argument)
    except (ValueError, IndexError, KeyError, UnicodeError, TypeError) as error:
        raise DataError(f"{where}: a damaged pickle ({short(str(error))})") from None
    raise DataError(f"{where}: a pickle of more than {_MOST:,} instructions, and those of policies have fewer", OTHER)


def called(value: Any, name: str, count: int, where: str) -> tuple[Any, ...]:
    """The arguments of a constructor's call; DataError where it is another's, or has fewer than ``count``."""
    if not isinstance(value, Constructed) or value.name != name or len(value.arguments or ()) < count:
        raise DataError(f"{where}: not in the pickle as {name.replace(' ', '.')}")
    assert value.arguments is not None
    return value.arguments


class _Machine:
    """The stack, and what has been remembered."""

    def __init__(self, known: frozenset[str], where: str) -> None:
        self._known, self._where = known, where
        self._stack: list[Any] = []
        self._memory: dict[int, Any] = {}
        self._operations: dict[str, Callable[[Any], None]] = {
            "PROTO": lambda _: None,
            "MARK": lambda _: self._stack.append(_MARK),
            "NONE": lambda _: self._stack.append(None),
            "NEWTRUE": lambda _: self._stack.append(True),
            "NEWFALSE": lambda _: self._stack.append(False),
            "EMPTY_TUPLE": lambda _: self._stack.append(()),
            "EMPTY_LIST": lambda _: self._stack.append([]),
            "EMPTY_DICT": lambda _: self._stack.append({}),
            "TUPLE": lambda _: self._stack.append(tuple(self._to_mark())),
            "TUPLE1": lambda _: self._stack.append((self.pop(),)),
            "TUPLE2": lambda _: self._stack.append(self._last(2)),
            "TUPLE3": lambda _: self._stack.append(self._last(3)),
            "GLOBAL": self._name,
            "NEWOBJ": lambda _: self._call(),
            "REDUCE": lambda _: self._call(),
            "BUILD": lambda _: self._build(),
            "SETITEM": lambda _: self._set(list(self._last(2))),
            "SETITEMS": lambda _: self._set(self._to_mark()),
            "APPEND": lambda _: self._append([self.pop()]),
            "APPENDS": lambda _: self._append(self._to_mark()),
            "BINPERSID": lambda _: self._stack.append(Constructed("", (self.pop(),))),
        }
        values = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "BINBYTES", "SHORT_BINBYTES")
        self._operations |= dict.fromkeys(values, self._stack.append)
        self._operations |= dict.fromkeys(("BINPUT", "LONG_BINPUT"), self._remember)
        self._operations |= dict.fromkeys(("BINGET", "LONG_BINGET"), lambda at: self._stack.append(self._memory[at]))

    def do(self, name: str, argument: Any) -> None:
        """One instruction."""
        operation = self._operations.get(name)
        if operation is None:
            raise DataError(f"{self._where}: a pickle with the instruction {name}, which such files do not need", OTHER)
        operation(argument)

    def pop(self) -> Any:
        """The top of the stack; ValueError where that is a mark."""
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a mark in the place of a value")
        return value

    def _last(self, count: int) -> tuple[Any, ...]:
        return tuple(reversed([self.pop() for _ in range(count)]))

    def _to_mark(self) -> list[Any]:
        values = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _remember(self, at: int) -> None:
        self._memory[at] = self._stack[-1]

    def _name(self, argument: str) -> None:
        if argument not in self._known:
            raise DataError(
                f"{self._where}: a pickle that wants {short(argument)!r} to be run, which omp does not", OTHER
            )
        self._stack.append(Constructed(argument))

    def _call(self) -> None:
        named, arguments = self._last(2)
        if not isinstance(named, Constructed) or named.arguments is not None or not isinstance(arguments, tuple):
            raise ValueError("a call of what is no constructor")
        self._stack.append(Constructed(named.name, arguments))

    def _build(self) -> None:
        state = self.pop()
        if not isinstance(made := self._stack[-1], Constructed) or made.arguments is None:
            raise ValueError("a state of what was not made")
        made.state = state

    def _set(self, pairs: list[Any]) -> None:
        owner = self._stack[-1]
        items = owner.items if isinstance(owner, Constructed) else owner
        if not isinstance(items, dict) or len(pairs) % 2 or not all(isinstance(key, str) for key in pairs[::2]):
            raise ValueError("a dictionary by something else than text")
        items.update(zip(pairs[::2], pairs[1::2], strict=True))

    def _append(self, values: list[Any]) -> None:
        if not isinstance(owner := self._stack[-1], list):
            raise ValueError("a list that is none")
        owner.extend(values)
