"""The long description of the package: README.md with links that work outside a checkout."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)\s]+)\)")


class ReadmeHook(MetadataHookInterface):
    """Sets `readme`, for hatchling."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text()
        base = metadata.get("urls", {}).get("Repository")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": absolute_links(text, base),
        }


def absolute_links(text: str, base: str | None) -> str:
    """Markdown whose links to files of the checkout are links to the repository.

    Args:
        text: the Markdown.
        base: address of the repository; None: it has none, and only the words of links are left.
    """

    def replace(link: re.Match[str]) -> str:
        image, words, path = link.groups()
        if base is None:
            return f"*{words}*" if image else words
        return f"{image}[{words}]({base}/{'raw' if image else 'blob'}/main/{path})"

    return LINK.sub(replace, text)
