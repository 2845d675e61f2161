"""Makes the seed corpus of the fuzz targets from the table of cases: python3 fuzz/seeds.py.

Each case of tests/data/translate becomes one file of fuzz/corpus/TARGET, named by the case, with the bytes in front that its target
wants (see tests/translate_properties/laws.rs). Long ones are left out: a fuzzer is better off with many short ones. Inputs that once
broke a law are named `found_...` and are kept.
"""

import re
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

HERE = Path(__file__).parent
CASES = HERE.parent / "tests" / "data" / "translate"

# The table, its target, and how many of its cases are taken at most.
TABLES = [
    ("requests_openai", "request_openai", 60),
    ("requests_anthropic", "request_anthropic", 50),
    ("streams_openai", "stream_openai", 24),
    ("streams_anthropic", "stream_anthropic", 24),
    ("replies_openai", "reply", 10),
    ("replies_anthropic", "reply", 10),
    ("errors_openai", "reply", 6),
    ("errors_anthropic", "reply", 6),
]
LONGEST = 4_096
STATUSES = [400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 503, 504, 529, 999]


def cases(table: str) -> Iterator[Tuple[str, Dict[str, str], str]]:
    """Name, words and input of every case."""
    for case in re.split(r"^=== ", (CASES / f"{table}.txt").read_text("utf-8"), flags=re.M)[1:]:
        head, _, rest = case.partition("--- in\n")
        name, *lines = head.splitlines()
        words = dict(line.split(": ", 1) for line in lines if ": " in line)
        yield name, words, re.split(r"^--- out\n", rest, flags=re.M)[0]


def seed(table: str, words: Dict[str, str], text: str) -> bytes:
    """What the target takes for this case."""
    plan = words.get("plan", "")
    how = int("include_usage" in plan) + 2 * int("answer_tool" in plan)
    if table.startswith("streams"):
        return (f"{how}a" + text).encode()
    if table.startswith("requests"):
        return text.strip().encode()
    status = int(words.get("status", "400"))
    nth = STATUSES.index(status) if status in STATUSES else 0
    return bytes([4 * nth + (how & 2) + int("anthropic" in table)]) + text.strip().encode()


def spread(all_of_them: List[Tuple[str, bytes]], most: int) -> List[Tuple[str, bytes]]:
    """At most so many, from everywhere."""
    if len(all_of_them) <= most:
        return all_of_them
    return [all_of_them[nth * len(all_of_them) // most] for nth in range(most)]


def main() -> None:
    """Writes the corpus anew, but for what was found."""
    for target in {target for _, target, _ in TABLES}:
        for old in (HERE / "corpus" / target).glob("*"):
            if not old.name.startswith("found_"):
                old.unlink()
    for table, target, most in TABLES:
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        seeds = [(name, seed(table, words, text)) for name, words, text in cases(table) if not re.search(r"<[0-9]+\*", text)]
        for name, text in spread([(name, text) for name, text in seeds if len(text) <= LONGEST], most):
            slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:60]
            (folder / f"{table}_{slug}").write_bytes(text)


if __name__ == "__main__":
    main()
