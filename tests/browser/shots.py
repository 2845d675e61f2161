#!/usr/bin/env python3
"""Screenshots of the dashboard in both themes and several widths, for people to look at: `shots.py URL DIRECTORY`."""

import sys
from pathlib import Path

SIZES = {"400": (400, 860), "768": (768, 1024), "1440": (1440, 900), "4k": (3840, 2160)}


def shoot(browser, url, directory, prefix="", sizes=SIZES, settle_ms=2500, details=True):
    """One picture a theme and size, and one with the details of a call open."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for theme in ("light", "dark"):
        for name, (width, height) in sizes.items():
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
            page = context.new_page()
            page.goto(url)
            page.wait_for_timeout(settle_ms)
            page.screenshot(path=directory / f"{prefix}{name}-{theme}.png", full_page=width < 800)
            if details and name in ("400", "1440"):
                failed = page.locator("#rows .row.failed:visible").first
                (failed if failed.count() else page.locator("#rows .row.ok:visible").first).click()
                page.wait_for_timeout(300)
                page.screenshot(path=directory / f"{prefix}{name}-{theme}-details.png")
            context.close()


if __name__ == "__main__":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        shoot(browser, sys.argv[1], sys.argv[2])
        browser.close()
