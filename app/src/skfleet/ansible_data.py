"""Values for Ansible as a file that it takes for data.

Ansible evaluates every string of `--extra-vars`, from the command line or a file, as a template. The tag
`!unsafe` says that a value holds none. The document carries it as a whole: of a tagged string Ansible guesses
the type again (`"1"` becomes a number), and its JSON form of the tag falls back to trusted YAML where a value
holds the tag's own name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


class _Document(dict[str, Any]):
    """The root, which carries the tag."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


# Quoted, so that no string is read as anything else.
_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)
_Dumper.add_representer(
    _Document, lambda dumper, values: dumper.represent_mapping("!unsafe", values)
)


def unsafe_yaml(values: Mapping[str, Any]) -> str:
    """A document for `--extra-vars=@FILE` of which Ansible evaluates nothing."""
    return yaml.dump(_Document(plain(values)), Dumper=_Dumper, sort_keys=False)


def plain(value: Any) -> Any:
    """Ansible's values without their tags and templates: those of JSON alone."""
    if isinstance(value, Mapping):
        return {plain(key): plain(value[key]) for key in value}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    for kind in (str, float, int):
        if isinstance(value, kind) and not isinstance(value, bool):
            return kind(value)
    return value
