"""The page as a browser lays it out; without chromium on the machine these tests are skipped."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bertwright.reports.page import write_report
from bertwright.reports.records import RunRecords

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Each frame tells how wide its page is, and how wide its widest part is that does not scroll inside itself.
MEASURE = """<script>
onload = () => { for (const frame of document.querySelectorAll("iframe")) {
  const page = frame.contentDocument, wide = [...page.querySelectorAll("body *:not(.scroll *):not(pre *):not(svg *)")];
  const ends = wide.filter(one => one.offsetParent).map(one => one.getBoundingClientRect().right);
  frame.title = `${frame.width} ${page.documentElement.scrollWidth} ${Math.ceil(Math.max(...ends))}`;
  frame.srcdoc = "";
} };
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium to lay the page out; it is not installed here")
def test_no_part_is_wider_than_a_phone_or_a_desk(whole_run: RunRecords, tmp_path: Path) -> None:
    """At 360 and 1200 pixels the page does not scroll sideways; what is wide scrolls inside its own frame."""
    page = write_report(whole_run, tmp_path).read_text(encoding="utf-8")
    frames = "".join(f'<iframe width="{width}" height="900" srcdoc="{html.escape(page)}"></iframe>' for width in WIDTHS)
    (tmp_path / "frames.html").write_text(f"<!doctype html><body>{frames}{MEASURE}", encoding="utf-8")
    found = re.findall(r'title="(\d+) (\d+) (\d+)"', laid_out(tmp_path))
    assert [str(width) for width in WIDTHS] == [frame for frame, _, _ in found]
    for frame, page_width, widest in found:
        assert int(page_width) <= int(frame)
        assert int(widest) <= int(frame)


WIDTHS = (360, 1200)


def laid_out(folder: Path) -> str:
    """Return the document of frames after its script has run."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += ["--virtual-time-budget=3000", "--dump-dom", (folder / "frames.html").as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
