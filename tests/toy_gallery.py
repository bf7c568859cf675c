"""Reading a gallery back: its HTML, the numbers in it and the files it names."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """A parsed gallery.

    Attributes:
        tags: Every element as its name and attributes.
        urls: Values of ``src`` and ``href`` in the HTML.
        data: What the script gets.
        texts: Text by the name of the element it is in.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags, self.urls, self.texts, self._open = [], [], {}, []
        self.feed(path.read_text('utf-8'))
        self.close()
        self.data = json.loads(self.texts['script'][0])

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.urls += [value for name, value in attrs if name in ('src', 'href')]
        if tag not in ('img', 'meta', 'input', 'br', 'link'):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f'</{tag}> closes another element'

    def handle_data(self, data):
        if self._open and data.strip():
            self.texts.setdefault(self._open[-1], []).append(data)

    def files(self, folder: Path) -> list[Path]:
        """Every file that the page names, in HTML or in its data."""
        urls = [url for url in self.urls if url != 'data:,']  # the empty icon, asked of nobody
        for image in self.data['images']:
            urls += [*image['files'], image['thumbnail']]
        for url in urls:
            parts = urlsplit(url)
            assert not parts.scheme, f'{url} is no file beside the page'
            assert not parts.netloc, f'{url} is no file beside the page'
            assert not parts.query, f'{url} is cut at a character of the name'
            assert not parts.fragment, f'{url} is cut at a character of the name'
        return [folder / unquote(url) for url in urls]
