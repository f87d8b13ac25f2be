"""Screenshots of the report and the index for ``docs/images``: ``python docs/screenshots.py [REPORT]``.

Needs a Chromium (``chromium``, ``chromium-browser`` or ``google-chrome`` on the path). The pages load nothing and hold no
script, so what the browser shows is the file.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from dpaudit.report import from_json, write_reports

ROOT = Path(__file__).resolve().parent.parent
SIZES = {"desktop": (1200, 1600), "phone": (390, 1400)}
_NARROWEST = 500  # a headless Chromium makes no window that is narrower
THEMES = {"light": [], "dark": ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]}


def main() -> int:
    """Render, photograph at two widths in two themes, print what was written."""
    browser = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
    )
    if not browser:
        print("no Chromium on the path; install one (Debian: apt-get install chromium)", file=sys.stderr)
        return 2
    record = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "reports" / "mnist" / "report.json"
    with tempfile.TemporaryDirectory() as folder:
        pages = write_reports(from_json(record.read_text(encoding="utf-8")), Path(folder))
        page = next(path for path in pages if path.suffix == ".html" and path.name != "index.html")
        for name, file in (("index", Path(folder) / "index.html"), ("report", page)):
            for (size, (width, height)), theme in zip(SIZES.items(), THEMES, strict=True):
                options = THEMES[theme]
                shown = file if width >= _NARROWEST else _framed(file, width, height)
                out = ROOT / "docs" / "images" / f"{name}-{size}-{theme}.png"
                out.parent.mkdir(exist_ok=True)
                window = f"--window-size={max(width, _NARROWEST)},{height}"
                subprocess.run(
                    [
                        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                        *("--virtual-time-budget=2000", window, f"--screenshot={out}"),
                        *(f"--user-data-dir={folder}/profile", *options, shown.as_uri()),
                    ],
                    check=True,
                    stderr=subprocess.DEVNULL,
                )
                Image.open(out).convert("RGB").crop((0, 0, width, height)).quantize(160).save(out, optimize=True)
                print(f"{out.relative_to(ROOT)}: {out.stat().st_size // 1024} KiB")
    return 0


def _framed(file: Path, width: int, height: int) -> Path:
    """A page that shows ``file`` in a frame of this width."""
    frame = file.with_name(f"framed-{file.name}")
    style = f"border:0;width:{width}px;height:{height}px"
    frame.write_text(
        f'<body style="margin:0"><iframe style="{style}" src="{file.name}"></iframe></body>', encoding="utf-8"
    )
    return frame


if __name__ == "__main__":
    sys.exit(main())
