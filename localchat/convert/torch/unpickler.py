"""A pickle machine that can build dictionaries, lists, tuples, numbers and texts, and nothing else.

Pickle is a language for a stack machine, and the one in Python imports and calls whatever a file asks for. This one
imports nothing: a name is looked up in a table of our own, and a call is a call of a function in that table. Of the
instructions it knows only those that appear in files of weights, protocols 2 to 5; meanings and numbers are those of
the comments in Python's `pickletools`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from struct import unpack
from typing import Any

from localchat.text import one_line

INSTRUCTION_LIMIT = 500_000
"""A tensor takes about 35; the largest Mixtral in one file has 995 tensors."""
STOP, HIGHEST_PROTOCOL = 0x2E, 5


class Unsound(Exception):
    """What is wrong with a file, as the end of a sentence."""


class Unsafe(Unsound):
    """The file asks for something that weights do not need; the words say for what."""


class OrderedMapping(dict[str, Any]):
    """What stands for `collections.OrderedDict`, the only thing that may be given a state."""


@dataclass(frozen=True, slots=True)
class Maker:
    """A function that a pickle may call. It gets the tuple of arguments, unchecked, and raises Unsound."""

    make: Callable[[tuple[Any, ...]], Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a pickle may refer to."""

    names: Mapping[tuple[str, str], object]
    """Module and name to what stands for it: a Maker where the pickle may call it."""
    persistent: Maker
    """Gives the value that a persistent id stands for; the id is the one argument."""


def _no_persistent_id(_: tuple[Any, ...]) -> Any:
    raise Unsound("it refers to data where there is none")


PLAIN = Dialect({}, Maker(_no_persistent_id))


def load(data: bytes, start: int, dialect: Dialect = PLAIN) -> tuple[Any, int]:
    """The value of the pickle at byte `start`, and where it ends.

    Containers in it may be shared and may even contain themselves, so do not walk them blindly. Raises Unsound for
    what is no sound pickle, Unsafe for names and instructions that have no place in one.
    """
    machine = _Machine(data, start, dialect)
    for _ in range(INSTRUCTION_LIMIT):
        code = machine.take(1)[0]
        if code == STOP:
            return machine.result(), machine.position
        instruction = INSTRUCTIONS.get(code)
        if instruction is None:
            raise Unsafe(f"the pickle instruction {code:#04x}")
        instruction(machine)
    raise Unsound("its description of the tensors is too long")


class _Machine:
    """The bytes, the stack and the memo. What lies below a mark is kept in `below`."""

    __slots__ = ("below", "data", "dialect", "memo", "position", "stack")

    def __init__(self, data: bytes, start: int, dialect: Dialect) -> None:
        self.data, self.position, self.dialect = data, start, dialect
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def take(self, count: int) -> bytes:
        taken = self.data[self.position : self.position + count]
        if len(taken) < count:
            raise Unsound("its description of the tensors is cut short")
        self.position += count
        return taken

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + 1000)
        if end < 0:
            raise Unsound("a name in it has no end")
        line = self.take(end + 1 - self.position)[:-1]
        return decoded(line)

    def pop(self) -> Any:
        if not self.stack:
            raise Unsound("its description of the tensors takes more than it has put down")
        return self.stack.pop()

    def top(self, kind: type[Any]) -> Any:
        """The uppermost value, which stays; it must be of this kind."""
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise Unsound("its description of the tensors fills what is no container")
        return self.stack[-1]

    def pop_to_mark(self) -> list[Any]:
        if not self.below:
            raise Unsound("its description of the tensors lacks a mark")
        items, self.stack = self.stack, self.below.pop()
        return items

    def result(self) -> Any:
        if self.below or len(self.stack) != 1:
            raise Unsound("its description of the tensors ends in the middle")
        return self.stack[0]

    def find(self, module: str, name: str) -> Any:
        found = self.dialect.names.get((module, name))
        if found is None:
            raise Unsafe(one_line(f"{module}.{name}", 80))
        return found


def decoded(raw: bytes) -> str:
    """Text in UTF-8. Raises Unsound."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unsound("a text in it is not UTF-8") from error


def _protocol(machine: _Machine) -> None:
    if machine.number(1) > HIGHEST_PROTOCOL:
        raise Unsound("it is a pickle of an unknown protocol")


def _frame(machine: _Machine) -> None:
    machine.take(8)  # a hint on how much to read at once


def _mark(machine: _Machine) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


def _push(value: object) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(value)


def _push_new(kind: Callable[[], object]) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(kind())


def _push_number(width: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(machine.number(width))


def _signed(machine: _Machine) -> None:
    machine.stack.append(int.from_bytes(machine.take(4), "little", signed=True))


def _long(machine: _Machine) -> None:
    machine.stack.append(int.from_bytes(machine.take(machine.number(1)), "little", signed=True))


def _fraction(machine: _Machine) -> None:
    machine.stack.append(unpack(">d", machine.take(8))[0])


def _push_text(width: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(decoded(machine.take(machine.number(width))))


def _push_tuple(count: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(tuple([machine.pop() for _ in range(count)][::-1]))


def _marked_tuple(machine: _Machine) -> None:
    items = machine.pop_to_mark()
    machine.stack.append(tuple(items))


def _append(machine: _Machine) -> None:
    item = machine.pop()
    machine.top(list).append(item)


def _append_all(machine: _Machine) -> None:
    items = machine.pop_to_mark()
    machine.top(list).extend(items)


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _fill(machine, [key, value])


def _set_items(machine: _Machine) -> None:
    _fill(machine, machine.pop_to_mark())


def _fill(machine: _Machine, items: list[Any]) -> None:
    """Keys must be texts: hashes of nested tuples take forever, and those of numbers can be made to collide."""
    target = machine.top(dict)
    if len(items) % 2:
        raise Unsound("a key in it has no value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) is not str:
            raise Unsound("a name in it is no text")
        if key in target:
            raise Unsound(f"the name {one_line(key, 80)} is in it twice")
        target[key] = value


def _remember(width: int) -> Callable[[_Machine], None]:
    return lambda machine: _keep(machine, machine.number(width))


def _remember_next(machine: _Machine) -> None:
    _keep(machine, len(machine.memo))


def _keep(machine: _Machine, place: int) -> None:
    machine.memo[place] = machine.top(object)


def _recall(width: int) -> Callable[[_Machine], None]:
    def recall(machine: _Machine) -> None:
        place = machine.number(width)
        if place not in machine.memo:
            raise Unsound("its description of the tensors refers to what is not there")
        machine.stack.append(machine.memo[place])

    return recall


def _global(machine: _Machine) -> None:
    module = machine.line()
    machine.stack.append(machine.find(module, machine.line()))


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if type(name) is not str or type(module) is not str:
        raise Unsafe("a name that is no text")
    machine.stack.append(machine.find(module, name))


def _call(machine: _Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    if not isinstance(function, Maker) or type(arguments) is not tuple:
        raise Unsafe("a call of something that is no function")
    machine.stack.append(function.make(arguments))


def _set_state(machine: _Machine) -> None:
    """The attributes of an OrderedDict, such as PyTorch's `_metadata`, are of no use to us."""
    state = machine.pop()
    if type(state) is not dict or not machine.stack or type(machine.stack[-1]) is not OrderedMapping:
        raise Unsafe("a change of an object's inner state")


def _persistent(machine: _Machine) -> None:
    machine.stack.append(machine.dialect.persistent.make((machine.pop(),)))


INSTRUCTIONS: dict[int, Callable[[_Machine], None]] = {
    0x80: _protocol, 0x95: _frame, ord("("): _mark,
    ord("N"): _push(None), 0x88: _push(True), 0x89: _push(False),
    ord("K"): _push_number(1), ord("M"): _push_number(2), ord("J"): _signed, 0x8A: _long, ord("G"): _fraction,
    ord("X"): _push_text(4), 0x8C: _push_text(1),
    ord(")"): _push_new(tuple), ord("t"): _marked_tuple,
    0x85: _push_tuple(1), 0x86: _push_tuple(2), 0x87: _push_tuple(3),
    ord("]"): _push_new(list), ord("a"): _append, ord("e"): _append_all,
    ord("}"): _push_new(dict), ord("s"): _set_item, ord("u"): _set_items,
    ord("q"): _remember(1), ord("r"): _remember(4), 0x94: _remember_next, ord("h"): _recall(1), ord("j"): _recall(4),
    ord("c"): _global, 0x93: _stack_global, ord("R"): _call, ord("b"): _set_state, ord("Q"): _persistent,
}  # fmt: skip
