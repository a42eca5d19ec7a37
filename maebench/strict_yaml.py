"""YAML as `yaml.safe_load` reads it, but that a key given twice is an error and not the last one's value."""

from typing import Any

import yaml


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


def load(text: str) -> Any:
    """The content of a YAML text. Raises yaml.YAMLError, with the line in its `problem_mark`."""
    return yaml.load(text, Loader=_Once)
