"""Commands in the documentation name flags, targets, files and URLs that exist."""

from pathlib import Path

import pytest

from tests.docs.commands import CommandError, check
from tests.docs.pages import PAGES, SHELL, Block, blocks, inline_code, name_of

BLOCKS = [block for page in PAGES for block in blocks(page) if block.language in SHELL]
_INLINE = ("curl ", "docker ", "lensgate ", "make ", "python ")


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_commands_of_a_block_exist(block: Block) -> None:
    assert check(block.body)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_the_text_exist(page: Path) -> None:
    for text in inline_code(page):
        if text.startswith(_INLINE) and "…" not in text and "..." not in text:
            check(text.replace("[", "\\[") if "tritonclient" in text else text)


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("make dinner", "no dinner"),
        ("make image COLOUR=red", "no COLOUR"),
        ("lensgate train fry --data DIR", "invalid choice: 'fry'"),
        ("lensgate bulk SRC DST --engin ray", "no --engin"),
        ("lensgate serve --max-batch", "no --max-batch"),
        ("python -m bench.nothing", "no module bench.nothing"),
        ("python -m bench.records --minutes 3", "no --minutes"),
        ("curl http://127.0.0.1:8000/v1/decision", "no /v1/decision"),
        ("curl 'http://127.0.0.1:8000/v1/decisions?expcted=glasses'", "no expcted"),
        ("curl --data-binary @samples/cat.png http://127.0.0.1:8000/v1/decisions", "no samples/cat.png"),
        ("docker compose -f compose.yml up", "no compose.yml"),
        ("docker build --target tpu .", "no target tpu"),
        ("true | lensgat bulk", "do not know the program true"),
    ],
)
def test_wrong_commands_are_found(command: str, fault: str) -> None:
    with pytest.raises(CommandError, match=fault):
        check(command)
