"""YAML -> frozen, typed settings; every mistake is one line that names the file, the key and the nearest right one."""

import builtins
import json
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from maebench.declaration import REQUIRED, SETTING_TYPES, Declaration
from maebench.plugins import PACKAGE, nearest
from maebench.training.budget import KINDS, Augment, Budget, Compile, Kind, Precision, Ratio

_SHIPPED = PACKAGE / "_configs"
CONFIGS = _SHIPPED if _SHIPPED.is_dir() else PACKAGE.parent / "configs"  # a wheel carries its own copy
LARGEST = 2**53 - 1
"""Of the seeds. Ours: every reader of the records holds it exactly, a spreadsheet or a column of floats too"""
STEPS = 600  # Ours: minutes on 2 cores


def _file(path: str) -> str:
    if not Path(path).is_file():
        raise ValueError(f"is no file; a relative path starts at the working folder, {Path.cwd()}")
    return path


_OWN = {"File": Annotated[str, AfterValidator(_file)]}
_TYPES = {name: _OWN.get(name) or getattr(builtins, name, None) or getattr(typing, name) for name in SETTING_TYPES}
_FINITE = ConfigDict(allow_inf_nan=False)  # a record, which is JSON, could not hold the others


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, **_FINITE)


class Named(_Model):
    """A plug-in and its settings: `name`, or `name: {setting: value}`."""

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)


def _named(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, settings),) = value.items()
        if isinstance(settings, Mapping) or settings is None:
            return {"name": name, "settings": dict(settings or {})}
    raise ValueError("write a name, or `name: {setting: value}`")


def named(value: Any) -> Named:
    """A name, or {name: {setting: value}} -> the plug-in it names. Raises ValueError for anything else."""
    return Named.model_validate(_named(value))


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


NamedPlugin = Annotated[Named, BeforeValidator(_named)]
NamedPlugins = Annotated[tuple[NamedPlugin, ...], BeforeValidator(_listed), Field(min_length=1)]


class Track(_Model):
    """A data set and the tasks asked of it."""

    dataset: NamedPlugin
    tasks: Annotated[tuple[NamedPlugin, ...], BeforeValidator(_listed)]  # none: what training costs, and no score


def _masking_ratio(value: Any, share: ValidatorFunctionWrapHandler) -> Ratio:
    """A number, {from: a, to: b} or {between: [a, b]} -> the number, or the other two as `Ratio` has them."""
    match value:
        case {"from": low, "to": high, **rest} if not rest:
            random = ""
        case {"between": [low, high], **rest} if not rest:
            random = " at random"
        case dict():
            raise ValueError("write a number, {from: a, to: b} or {between: [a, b]}")
        case _:
            return share(value)  # type: ignore[no-any-return]
    low, high = share(low), share(high)
    if low == high:
        raise ValueError(f"does not change; write {low:g}")
    return f"{low:g} to {high:g}{random}"


MaskingRatio = Annotated[float, Field(ge=0, lt=1), WrapValidator(_masking_ratio)]


class Masks(_Model):
    """Masking strategies x masking ratios, crossed with every variant that asks for `hide`."""

    strategy: NamedPlugins
    ratio: Annotated[tuple[MaskingRatio, ...], BeforeValidator(_listed), Field(min_length=1)]


class Pretrain(_Model):
    """The budget of gradient training, whose defaults are `Budget`'s: one of its kinds."""

    steps: Annotated[int, Field(ge=1)] | None = None  # STEPS where no budget is given
    epochs: Annotated[float, Field(gt=0)] | None = None
    tokens: Annotated[float, Field(gt=0)] | None = None
    flops: Annotated[float, Field(gt=0)] | None = None
    seconds: Annotated[float, Field(gt=0)] | None = None
    batch: Annotated[int, Field(ge=1)] = Budget.batch
    micro_batch: Annotated[int, Field(ge=1)] | None = Budget.micro_batch
    base_lr: Annotated[float, Field(gt=0)] = Budget.base_lr
    warmup: Annotated[float, Field(ge=0, lt=1)] = Budget.warmup
    weight_decay: Annotated[float, Field(ge=0)] = Budget.weight_decay
    augment: Augment = Budget.augment
    precision: Precision = Budget.precision
    compile: Compile = Budget.compile
    memory: Annotated[float, Field(gt=0)] | None = Budget.memory
    checkpoint_every: Annotated[float, Field(gt=0)] = 60.0  # seconds
    probe_every: Annotated[int, Field(ge=1)] | None = None  # steps

    @model_validator(mode="after")
    def _one_budget(self) -> "Pretrain":
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) > 1:
            raise ValueError(f"give one budget, not {' and '.join(given)}")
        if self.micro_batch and self.micro_batch > self.batch:
            raise ValueError(f"micro_batch {self.micro_batch} is more than the batch of {self.batch}")
        return self

    def budget(self) -> Budget:
        """All of it that makes the weights."""
        kind: Kind = next((kind for kind in KINDS if getattr(self, kind) is not None), "steps")
        optimiser = self.model_dump(exclude={"checkpoint_every", "probe_every", *KINDS})
        return Budget(kind, getattr(self, kind) or STEPS, **optimiser)


class Config(_Model):
    """A whole benchmark run."""

    tracks: tuple[Track, ...] = Field(min_length=1)
    variants: NamedPlugins
    masks: Masks | None = None
    pretrain: Pretrain = Pretrain()
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, le=LARGEST)], ...], Field(min_length=1)] = (0,)
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("each seed may stand there once")
        return seeds


def read_config(path: Path) -> Config:
    """The config in a YAML file, or the built-in one of that name. Raises ValueError, one line, where it is wrong."""
    shipped = CONFIGS / path
    try:
        content = parse_yaml((path if path.exists() or not shipped.exists() else shipped).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); name a YAML file, see `maebench run --help`"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is not a text file; name a YAML file") from None
    except (yaml.YAMLError, ValueError) as error:  # a ValueError: what looks like a date and is none
        mark = getattr(error, "problem_mark", None)
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise ValueError(f"{path}{f':{mark.line + 1}' if mark else ''}: is not YAML: {problem}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds no settings; a config has at least `tracks` and `variants`")
    return make_config(content, str(path))


def make_config(content: Mapping[str, Any], where: str) -> Config:
    """The config with this content; `where` names it in messages. Raises ValueError, one line, where it is wrong."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{where}: {_first(error, Config)}") from None


def _first(error: ValidationError, model: type[BaseModel]) -> str:
    problems = error.errors(include_url=False)
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        *parents, key = problem["loc"]
        return f"{where}: unknown key{nearest(str(key), _keys(model, parents))}"
    message = problem["msg"].removeprefix("Value error, ")
    given = "" if problem["type"] == "missing" else f" (found: {problem['input']!r})"
    return f"{where}: {message}{given}"


def _keys(model: type[BaseModel], path: list[int | str]) -> list[str]:
    for part in path:
        if isinstance(part, str) and part in model.model_fields:
            inner: list[Any] = [model.model_fields[part].annotation]
            while inner and not (isinstance(inner[0], type) and issubclass(inner[0], BaseModel)):
                inner = [*get_args(inner[0]), *inner[1:]]
            model = inner[0] if inner else model
    return list(model.model_fields)


def full_settings(found: Declaration, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """All settings of a plug-in, defaults filled in, checked against its signature.

    Raises ValueError, starting with `where`, for an unknown or missing setting, or one of the wrong type or that JSON
    does not know, such as infinity or a date.
    """
    for key in given:
        if key not in found.settings:
            known = list(found.settings) or ["no settings at all"]
            raise ValueError(f"{where}: {found.name} has no setting '{key}'{nearest(str(key), known)}")
    full = {}
    for key, (annotation, default) in found.settings.items():
        value = given.get(key, default)
        if value is REQUIRED:
            raise ValueError(f"{where}: {found.name} needs the setting '{key}' ({annotation})")
        full[key] = _typed(value, annotation, f"{where}: {found.name}.{key}")
    return full


def _typed(value: Any, annotation: str, where: str) -> Any:
    try:
        # The text comes from the plug-in's own signature, and is made of these names alone.
        found = TypeAdapter(eval(annotation, {"__builtins__": {}}, _TYPES), config=_FINITE).validate_python(value)
        json.dumps(found, allow_nan=False)  # what is in a bare list or tuple can be anything
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {message} (found: {value!r})") from None
    except PydanticUserError:
        raise ValueError(f"{where}: the type {annotation} is none that a config can give; mend the plug-in") from None
    except (TypeError, ValueError):
        raise ValueError(f"{where}: Input should hold finite numbers, text and lists (found: {value!r})") from None
    return found


class _Once(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """One mapping of the file, before merge keys (<<) add those of others, which it may override."""
        node = super().compose_mapping_node(anchor)
        seen = []
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"'{key.value}' is given twice", problem_mark=key.start_mark)
            seen.append(key.value)
        return node


def parse_yaml(text: str) -> Any:
    """The content of a YAML text. Raises yaml.YAMLError, with the line in its `problem_mark`."""
    return yaml.load(text, Loader=_Once)
