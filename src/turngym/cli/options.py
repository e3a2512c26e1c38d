"""From command-line words to a dataclass, by tyro; what cannot be read is answered with one sentence, not a page."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeGuard, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from turngym._errors import InputError
from turngym.cli.errors import UsageError
from turngym.cli.printable import printable
from turngym.credentials import without_credentials
from turngym.names import nearest

Options = TypeVar("Options")

JsonObject = dict[str, Any]
"""A mapping that is written on the command line as one JSON object, such as '{"size": 8}'."""

JsonObjects = list[dict[str, Any]]
"""Several of them, written as one JSON list."""

_REGISTRY = tyro.constructors.ConstructorRegistry()
_POSITIONAL = get_args(tyro.conf.Positional[str])[1:]
_CONFIG = (tyro.conf.FlagCreatePairsOff,)  # a switch is given or not; there is no --no-switch
_BOOLEANS = {"true": True, "false": False}
_EXPECTED = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    JsonObject: """a JSON object such as '{"size": 8}'""",
    JsonObjects: """a JSON list of objects such as '[{"size": 3}]'""",
}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError("a name stands twice in one object")
    return dict(pairs)


def _read_json(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_repetition)
        return without_credentials(value)
    except RecursionError as error:
        raise ValueError("the text is nested too deeply") from error


def read_json_object(text: str) -> JsonObject:
    """Read one JSON object.

    Raises:
        ValueError: The text is anything else.
    """
    value = _read_json(text)
    if not isinstance(value, dict):
        raise ValueError(f"{text} is not a JSON object")
    return value


def is_objects(value: object) -> TypeGuard[JsonObjects]:
    """Whether a value is a list of mappings."""
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def read_json_objects(text: str) -> JsonObjects:
    """Read one JSON list of objects.

    Raises:
        ValueError: The text is anything else.
    """
    value = _read_json(text)
    if not is_objects(value):
        raise ValueError(f"{text} is not a JSON list of objects")
    return value


def read_boolean(text: str) -> bool:
    """Read true or false, in any case.

    Raises:
        ValueError: The text is anything else.
    """
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise ValueError(f"{text} is neither true nor false") from None


@_REGISTRY.primitive_rule
def _json_rule(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[JsonObject] | None:
    if info.type != JsonObject:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=lambda words: read_json_object(words[0]),
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [json.dumps(value)],
    )


@_REGISTRY.primitive_rule
def _json_list_rule(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[JsonObjects] | None:
    if info.type != JsonObjects:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=lambda words: read_json_objects(words[0]),
        is_instance=is_objects,
        str_from_instance=lambda value: [json.dumps(value)],
    )


@_REGISTRY.primitive_rule
def _boolean_rule(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec[bool] | None:
    # tyro reads "True"; TOML, JSON and people also write "true".
    if info.type is not bool:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="{true,false}",
        instance_from_str=lambda words: read_boolean(words[0]),
        is_instance=lambda value: isinstance(value, bool),
        str_from_instance=lambda value: [str(value).lower()],
    )


def parse(
    kind: type[Options],
    words: Sequence[str],
    *,
    command: str,
    default: Options | None = None,
    explain: Callable[[str], str | None] | None = None,
) -> Options:
    """Read the words of a command into its options.

    Args:
        kind: The dataclass of the options; its docstrings are the help.
        words: The words after the command's name.
        command: The command's name, for the help.
        default: Where the values come from that no word gives.
        explain: From an unknown flag to why it is unknown, where that is known.

    Raises:
        UsageError: A flag is unknown, a value is missing or of the wrong type, or values do not go together.
        SystemExit: After `--help`.
    """
    prog = f"turngym {command}"
    start = tyro.MISSING_NONPROP if default is None else default
    help_text = io.StringIO()
    try:
        with redirect_stderr(io.StringIO()), redirect_stdout(help_text):
            options: Options = tyro.cli(kind, prog=prog, args=words, registry=_REGISTRY, default=start, config=_CONFIG)
            return options
    except SystemExit as stop:
        if not stop.code:
            print(printable(help_text.getvalue()), end="")  # the defaults may be those of a foreign file
            raise
        refusal: BaseException | None = stop
        while refusal is not None and not isinstance(refusal, InputError):  # of a section that checks itself
            refusal = refusal.__context__
        if refusal is not None:
            raise UsageError(str(refusal)) from stop
    except InputError as error:
        raise UsageError(str(error)) from error
    raise UsageError(_diagnose(kind, list(words), command, default, explain))


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of a command."""

    name: str
    """As it is written, such as "--run.seed"."""
    type: Any
    """What its value must be."""
    switch: bool
    """Whether it stands alone, without a value."""


def flags_of(kind: Any, prefix: str = "--", *, default: Any = None, switches: bool = True) -> Iterator[Flag]:
    """Yield every flag of an options dataclass, nested sections included.

    Args:
        kind: The dataclass.
        prefix: What stands before the names.
        default: An instance, whose sections may be of more special types than the dataclass says.
        switches: Whether booleans are switches (as in a command) or take True or False (as in a configuration).
    """
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint, notes = _unwrapped(hints[field.name])
        if _is_positional(notes):
            continue
        name = f"{prefix}{field.name.replace('_', '-')}"
        if is_dataclass(hint):
            flat = any(getattr(note, "name", None) == "" for note in notes)
            section = getattr(default, field.name, None)
            yield from flags_of(hint if section is None else type(section), prefix if flat else f"{name}.",
                                default=section, switches=switches and not flat)  # fmt: skip
        else:
            switch = hint is bool and switches
            if switch and field.default is True:  # it is turned off, and is on without
                name = f"{prefix}no-{field.name.replace('_', '-')}"
            yield Flag(name, hint, switch=switch)


@dataclass(frozen=True, slots=True)
class Given:
    """A flag with its values as they were written, or a word that stands alone."""

    flag: str
    """Such as "--run.seed", with dashes in its name; empty for a word that stands alone."""
    values: list[str]
    """What stands behind it; the word itself where it stands alone."""
    words: list[str]
    """All of it."""

    @property
    def setting(self) -> str:
        """The setting that the flag is for, such as "learning.steps"."""
        return self.flag.removeprefix("--").replace("-", "_")


def grouped(words: Sequence[str], flags: Iterable[Flag]) -> Iterator[Given]:
    """Yield the flags of a command line with their values; what is unknown is taken to have one value.

    Args:
        words: The command line.
        flags: The flags of the command, which tell those with no value and those with several.
    """
    known = list(flags)
    lists = {flag.name for flag in known if "list[" in str(flag.type)}
    switches = {"--help", "--help-all", *(flag.name for flag in known if flag.switch)}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("--"):
            yield Given("", [word], [word])
            continue
        written, equals, value = word.partition("=")
        flag = "--" + written.removeprefix("--").replace("_", "-")
        values = [value] if equals else []
        behind: list[str] = []
        while flag not in switches and waiting and not waiting[0].startswith("--") and (flag in lists or not values):
            behind.append(waiting.pop(0))
            values.append(behind[-1])
        yield Given(flag, values, [word, *behind])


def _diagnose(
    kind: Any, words: list[str], command: str, default: Any, explain: Callable[[str], str | None] | None
) -> str:
    """Say what is wrong with words that did not parse."""
    known = {flag.name: flag for flag in flags_of(kind, default=default)}
    loose = []
    waiting = iter(words)
    flag: Flag | None = None
    for word in waiting:
        if not word.startswith("-"):
            if flag is None or get_origin(flag.type) is not list:
                loose.append(word)
            elif not _readable(flag.type, word):
                return f"{flag.name} takes {_expected(flag.type)}, not {word!r}"
            continue
        written, equals, value = word.partition("=")
        flag = known.get("--" + written.removeprefix("--").replace("_", "-"))
        if flag is None:
            why = explain(written) if explain else None
            return why or f"{command} has no option {written}{_instead(kind, written, known, command)}"
        if flag.switch:
            continue
        given = value if equals else next(waiting, "--")
        if given.startswith("--") and not equals:
            return f"{flag.name} needs a value: {_expected(flag.type)}"
        if not _readable(flag.type, given):
            return f"{flag.name} takes {_expected(flag.type)}, not {given!r}"
    places = _positionals(kind)
    if len(loose) > len(places):
        return f"{command} has no use for {loose[len(places)]!r}; see turngym {command} --help"
    if len(loose) < len(places):
        return f"{command} needs {' and '.join(places[len(loose) :])}; see turngym {command} --help"
    return f"the arguments of {command} cannot be read; see turngym {command} --help"


def _instead(kind: Any, written: str, known: Collection[str], command: str) -> str:
    """Return the end of a sentence about an unknown flag: what may have been meant, or what does the same."""
    bare = written.lstrip("-").replace("_", "-")
    if bare.upper().replace("-", "_") in _positionals(kind):
        return f": {bare.upper()} stands without a flag, as in turngym {command} {' '.join(_positionals(kind))}"
    if bare == "json":
        kept = "with --out it keeps what programs read" if "--out" in known else "it prints for people alone"
        return f": {kept}; see turngym {command} --help"
    settings = [name for name in known if name.rpartition(".")[2] == bare]
    return nearest(written, settings or known, cutoff=0.3 if settings else 0.65)


def _positionals(kind: Any) -> list[str]:
    """Return the names of a command's arguments that stand without a flag."""
    hints = get_type_hints(kind, include_extras=True)
    return [field.name.upper() for field in fields(kind) if _is_positional(_unwrapped(hints[field.name])[1])]


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type and the notes that `Annotated` put on it."""
    if get_origin(hint) is not Annotated:
        return hint, ()
    plain, *notes = get_args(hint)
    return plain, tuple(notes)


def _is_positional(notes: tuple[Any, ...]) -> bool:
    return any(note in _POSITIONAL for note in notes)


def _readable(hint: Any, value: str) -> bool:
    """Whether a value is of a type, for the types that options have."""
    kind = _unwrapped(hint)[0]
    if get_origin(kind) is Literal:
        return value in map(str, get_args(kind))
    if get_origin(kind) is list and kind != JsonObjects:
        return _readable(get_args(kind)[0], value)
    if get_origin(kind) in (Union, UnionType):
        return any(_readable(part, value) for part in get_args(kind))
    readers: dict[Any, Callable[[str], Any]] = {
        int: int, float: float, bool: read_boolean, JsonObject: read_json_object, JsonObjects: read_json_objects,
        NoneType: ["None"].index,
    }  # fmt: skip
    try:
        readers.get(kind, str)(value)
    except ValueError:
        return False
    return True


def _expected(hint: Any) -> str:
    kind = _unwrapped(hint)[0]
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is list and kind != JsonObjects:
        return _expected(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return _expected(next(part for part in get_args(kind) if part is not NoneType))
    return _EXPECTED.get(kind, "a value")
