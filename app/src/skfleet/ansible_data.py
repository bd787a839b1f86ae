"""Values for Ansible as a file that it takes for data.

Ansible evaluates every string of `--extra-vars`, given on the command line or in a file, as a template. A
mapping with the tag `!unsafe` is the published way to say that none below it is one. Tagged is the whole
document: of a tagged string Ansible guesses the type again (`"1"` becomes a number, a date a date), and its JSON form
of the tag falls back to trusted YAML where a value holds the tag's own name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


class _Document(dict[str, Any]):
    """The root, which carries the tag."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
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
    return yaml.dump(_Document(values), Dumper=_Dumper, sort_keys=False)
