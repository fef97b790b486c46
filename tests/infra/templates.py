"""The templates of infra/, with CloudFormation's short forms as the long ones: `!Ref X` is `{"Ref": "X"}`."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from streaming.settings import ROOT

INFRA = ROOT / "infra"
ROOT_TEMPLATE = "template.yaml"
NESTED = "AWS::CloudFormation::Stack"


class _Loader(yaml.SafeLoader):
    """Reads short forms."""


def _long_form(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    match node:
        case yaml.ScalarNode():
            value = loader.construct_scalar(node)
        case yaml.SequenceNode():
            value = loader.construct_sequence(node, deep=True)
        case _:
            value = loader.construct_mapping(node, deep=True)
    if name == "GetAtt":
        value = value.split(".", 1)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _long_form)


def parse(text: str) -> dict[str, Any]:
    """A template in YAML or JSON."""
    return yaml.load(text, _Loader)  # a safe loader


@cache
def load(name: str) -> dict[str, Any]:
    """A template of infra/, not to be changed."""
    return parse((INFRA / name).read_text())


@cache
def names() -> tuple[str, ...]:
    """The root's template, and those that it nests, however deep."""
    return (ROOT_TEMPLATE, *_nested(ROOT_TEMPLATE))


def files() -> set[str]:
    """Every template there is."""
    return {path.name for path in INFRA.iterdir() if "AWSTemplateFormatVersion" in path.read_text()}


def resources(*types: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every resource of these types, or of any: its template, logical name, and what it is."""
    for name in names():
        for logical, resource in load(name)["Resources"].items():
            if not types or resource["Type"] in types:
                yield name, logical, resource


def text_of(value: Any) -> str:
    """A value as text; what is filled in stands as `${Name}`."""
    match value:
        case {"Ref": str(name)}:
            return f"${{{name}}}"
        case {"Fn::GetAtt": list(path)}:
            return f"${{{'.'.join(path)}}}"
        case {"Fn::Sub": [str(text), dict()]} | {"Fn::Sub": str(text)}:
            return text
        case {"Fn::Join": [str(between), list(parts)]}:
            return between.join(map(text_of, parts))
        case {"Fn::If": [_, one, other]}:
            return f"{text_of(one)}|{text_of(other)}"
    return str(value)


def found(value: Any, key: str) -> Iterator[Any]:
    """Every value of a key, however deep."""
    match value:
        case dict():
            if key in value:
                yield value[key]
            for each in value.values():
                yield from found(each, key)
        case list():
            for each in value:
                yield from found(each, key)


def _nested(name: str) -> Iterator[str]:
    for resource in load(name)["Resources"].values():
        if resource["Type"] == NESTED:
            inner = Path(resource["Properties"]["TemplateURL"]).name
            yield inner
            yield from _nested(inner)
