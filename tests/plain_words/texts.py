"""Extract the prose of a source file: comments, docstrings, error and help texts, the text of a document."""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple


class Text(NamedTuple):
    """A piece of prose and the number of the line on which it begins."""

    line: int
    words: str


_MESSAGE_ARGUMENTS = {"help", "description", "epilog", "detail", "summary"}
"""Keyword arguments that a reader sees: command lines, OpenAPI, problem details."""

_PLACEHOLDER = "X"
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def python_texts(source: str) -> Iterator[Text]:
    """Comments, docstrings, messages of `raise` and the texts of command lines and OpenAPI."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith("#!"):
            yield Text(token.start[0], token.string.lstrip("#: "))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield Text(node.lineno, node.value.value)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from _messages(node.exc)
        elif isinstance(node, ast.keyword) and node.arg in _MESSAGE_ARGUMENTS:
            yield from _messages(node.value)


def _messages(node: ast.AST) -> Iterator[Text]:
    """The strings below a node; a placeholder stands for each value of an f-string."""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else _PLACEHOLDER for part in node.values]
        yield Text(node.lineno, "".join(map(str, parts)))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield Text(node.lineno, node.value)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _messages(child)


_C_TOKEN = re.compile(r"""/\*(?P<block>.*?)\*/|//(?P<line>[^\n]*)|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL)
_REGULAR_EXPRESSION = re.compile(r"(?<=[=(,:]\s)/(?![*/])(?:\\.|[^/\\\n])+/|(?<=\()/(?![*/])(?:\\.|[^/\\\n])+/")
_PROSE = re.compile(r"[\w,.:;?!'()-]+(?: [\w,.:;?!'()-]+){3,}")


def script_texts(source: str) -> Iterator[Text]:
    """Comments of JavaScript, CSS and C, and the quoted strings that are sentences."""
    source = _REGULAR_EXPRESSION.sub(lambda found: "_" * len(found[0]), source)
    for found in _C_TOKEN.finditer(source):
        comment = found["block"] or found["line"]
        text = re.sub(r"\n\s*\*", "\n", comment) if comment else found[0].strip("\"'")
        if comment or _PROSE.fullmatch(text):
            yield Text(source.count("\n", 0, found.start()) + 1, text)


_HASH_COMMENT = re.compile(r"(?:^|\s)#(?!!)\s?(.*)")
_ANNOTATION = re.compile(r"^\s*(?:- )?(?:summary|description|title):\s*(.*)")


def hash_texts(source: str) -> Iterator[Text]:
    """Comments that begin with `#`, neighbouring lines as one text, and the annotations of alerts."""
    start, lines = 0, list[str]()
    for number, line in enumerate(source.splitlines(), 1):
        comment = _HASH_COMMENT.search(line)
        if comment:
            start = start if lines else number
            lines.append(comment[1])
            continue
        if lines:
            yield Text(start, "\n".join(lines))
            lines.clear()
        annotation = _ANNOTATION.match(line)
        if annotation:
            yield Text(number, annotation[1])
    if lines:
        yield Text(start, "\n".join(lines))


_FENCE = re.compile(r"^ *(```|~~~).*?^ *\1", re.DOTALL | re.MULTILINE)


def markdown_texts(source: str) -> Iterator[Text]:
    """Paragraphs outside fenced blocks, without inline code and the targets of links."""
    source = _FENCE.sub(lambda found: "\n" * found[0].count("\n"), source)
    source = re.sub(r"`[^`\n]*`", _PLACEHOLDER, source)
    source = re.sub(r"\]\([^)\n]*\)", "]", source)
    line = 1
    for paragraph in re.split(r"(\n\s*\n)", source):
        if paragraph.strip():
            yield Text(line, paragraph)
        line += paragraph.count("\n")


_SHOWN_ATTRIBUTES = {"title", "alt", "aria-label", "content", "placeholder"}


class _HtmlTexts(HTMLParser):
    """Collects text, comments, and the attributes that a browser shows or reads out."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Text] = []
        self._is_hidden = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_hidden = tag in ("script", "style")
        self._add(
            " ".join(value for name, value in attrs if value and name in ("title", "alt", "aria-label", "content"))
        )

    def handle_endtag(self, _tag: str) -> None:
        self._is_hidden = False

    def handle_data(self, data: str) -> None:
        if not self._is_hidden:
            self._add(data)

    def handle_comment(self, data: str) -> None:
        self._add(data)

    def _add(self, text: str) -> None:
        if text.strip():
            self.found.append(Text(self.getpos()[0], text))


def html_texts(source: str) -> Iterator[Text]:
    """The visible text of a page, its comments and titles."""
    parser = _HtmlTexts()
    parser.feed(source)
    yield from parser.found


_READERS: dict[str, Callable[[str], Iterator[Text]]] = {
    ".py": python_texts,
    **dict.fromkeys((".js", ".mjs", ".ts", ".css", ".c", ".h"), script_texts),
    **dict.fromkeys((".sh", ".yml", ".yaml", ".toml", ".conf", ".env", ".Dockerfile", ".mk"), hash_texts),
    **dict.fromkeys(("Makefile", "Dockerfile", ".gitignore", ".dockerignore", "run"), hash_texts),
    ".md": markdown_texts,
    ".html": html_texts,
}


def texts_of(path: Path) -> list[Text]:
    """All prose of a file; none for a kind of file that holds only code or data."""
    reader = _READERS.get(path.suffix) or _READERS.get(path.name)
    return list(reader(path.read_text(encoding="utf-8"))) if reader else []
