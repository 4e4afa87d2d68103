"""Every reason that a decision may have is in the table of codes and in the operators' page."""

import re
from pathlib import Path

from bots.autopilot.codes import CODES

ROOT = Path(__file__).resolve().parents[3]
USED = re.compile(
    r'Kind\.[A-Z]+,\s*"([a-z_]+)"|\bcode="([a-z_]+)"|\bcode, why = "([a-z_]+)"|_code: str = "([a-z_]+)"|return "([a-z_]+)", f?"'
    r'|_blank\([^)]*, "([a-z_]+)"\)'
)


def test_every_code_that_is_used_is_listed_and_no_other() -> None:
    texts = [path.read_text() for path in (ROOT / "bots/autopilot").glob("*.py")]
    used = {code for text in texts for found in USED.findall(text) for code in found if code}
    assert used == set(CODES)


def test_operators_page_explains_every_code_and_no_other() -> None:
    page = (ROOT / "docs/autopilot.md").read_text().partition("## The decision log")[2]
    assert re.findall(r"^\| ([a-z_]+) \|", page, re.MULTILINE)[1:] == list(CODES)
