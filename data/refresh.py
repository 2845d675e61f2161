"""Makes the three tables beside it from two published ones; run it when those have news.

    python data/refresh.py prices.json model_prices_and_context_window_backup.json \
        --genai 0.2.1 --litellm-version 1.109.1 --date 2026-11-21

The first file is the data of the crate `genai-prices` (MIT), which gives prices; the second comes with the Python package
`litellm` (MIT), which gives output limits, and prices where the first has none. Only figures are taken.

What it decides:

- Where both price a model and differ, the first one stands, and the difference is written into the head of `prices.tsv`.
- Classes of tokens, service tiers and long contexts that the first lacks come from the second, if both agree on input and output.
- A price that begins at a date counts from that date on; of prices by the time of day the dearest stands.
- Models that are charged by anything but tokens (hours, characters, requests, pages) are left out: unknown is safer than too cheap.
- The noise of floats is taken off (12 digits stay); what then is no whole number of pico-USD a token is rounded up and named.
"""

from __future__ import annotations

import argparse
import json
import re
from decimal import ROUND_CEILING, Context, Decimal
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

HERE = Path(__file__).parent
TIERS = ["standard", "flex", "priority", "batch"]

Rates = Dict[str, Decimal]
Cards = Dict[Tuple[str, int], Rates]

# The classes of tokens, each with its name in the first source and in the second.
SOURCES = [
    ("input", "input_mtok", "input_cost_per_token"),
    ("cache_read", "cache_read_mtok", "cache_read_input_token_cost"),
    ("cache_write_5m", "cache_write_mtok", "cache_creation_input_token_cost"),
    ("cache_write_1h", "cache_write_1h_mtok", "cache_creation_input_token_cost_above_1hr"),
    ("output", "output_mtok", "output_cost_per_token"),
    ("input_audio", "input_audio_mtok", "input_cost_per_audio_token"),
    ("output_audio", "output_audio_mtok", "output_cost_per_audio_token"),
    ("input_image", "input_image_mtok", "input_cost_per_image_token"),
    ("output_image", "output_image_mtok", "output_cost_per_image_token"),
]
CLASSES = [name for name, _, _ in SOURCES]
GENAI = {name: key for name, key, _ in SOURCES}
LITELLM = {name: stem for name, _, stem in SOURCES}

# Charged apart, and only where a request asks for it: tools of the provider. Cached audio and pictures have no class of their own here.
BESIDE = {"web_searches_kcount", "storage_searches_kcount", "cache_audio_read_mtok", "cache_image_read_mtok"}
LITELLM_TIERS = {"": "standard", "_flex": "flex", "_priority": "priority", "_batches": "batch"}

# Providers that can be upstreams, with what the second source puts before their models.
PROVIDERS: dict[str, list[str]] = {
    "anthropic": [""],
    "arcee": [],
    "avian": [],
    "azure": ["azure/"],
    "baseten": ["baseten/"],
    "cerebras": ["cerebras/"],
    "cloudflare": ["cloudflare/"],
    "cohere": [""],
    "deepseek": ["deepseek/"],
    "fireworks": ["fireworks_ai/"],
    "google": ["gemini/"],
    "groq": ["groq/"],
    "meta": ["meta_llama/"],
    "minimax": ["minimax/"],
    "mistral": ["mistral/"],
    "moonshotai": ["moonshot/"],
    "novita": ["novita/"],
    "openai": [""],
    "openrouter": ["openrouter/"],
    "ovhcloud": ["ovhcloud/"],
    "perplexity": ["perplexity/"],
    "together": ["together_ai/"],
    "voyageai": ["voyage/"],
    "x-ai": ["xai/"],
    "zai": ["zai/"],
    "zhipuai": [],
}

# Models whose own rows are gone from the second source: the same model as others sell it, for its limits and its dated name alone.
ELSEWHERE = {
    ("anthropic", "claude-2"): "anthropic.claude-v2:1",
    ("anthropic", "claude-3-haiku"): "vertex_ai/claude-3-haiku",
    ("anthropic", "claude-3-opus-latest"): "vertex_ai/claude-3-opus",
    ("anthropic", "claude-3-sonnet"): "vertex_ai/claude-3-sonnet",
    ("anthropic", "claude-3-5-haiku-latest"): "anthropic.claude-3-5-haiku-20241022-v1:0",
    ("anthropic", "claude-3-5-sonnet"): "anthropic.claude-3-5-sonnet-20241022-v2:0",
    ("anthropic", "claude-3-7-sonnet-latest"): "anthropic.claude-3-7-sonnet-20250219-v1:0",
    ("anthropic", "claude-opus-4-0"): "anthropic.claude-opus-4-20250514-v1:0",
    ("anthropic", "claude-opus-4-1"): "anthropic.claude-opus-4-1-20250805-v1:0",
    ("anthropic", "claude-sonnet-4-0"): "anthropic.claude-sonnet-4-20250514-v1:0",
}


def usd(value: Any, where: str, notes: list[str]) -> Decimal:
    """A price in USD a million tokens that is a whole number of pico-USD a token."""
    exact = Context(prec=12).create_decimal(value)
    whole = exact.quantize(Decimal("0.000001"), rounding=ROUND_CEILING)
    if whole != exact:
        notes.append(f"rounded up: {where}: {exact}")
    return whole


def genai_rates(prices: dict[str, Any], where: str, notes: list[str]) -> dict[int, Rates]:
    """The rates of one tier by the size of the context."""
    values = {name: prices[key] for name, key in GENAI.items() if prices.get(key) is not None}
    starts = sorted({tier["start"] for value in values.values() if isinstance(value, dict) for tier in value["tiers"]})

    def at(value: Any, over: int) -> Any:
        if not isinstance(value, dict):
            return value
        reached = [tier["price"] for tier in sorted(value["tiers"], key=lambda tier: int(tier["start"])) if tier["start"] <= over]
        return reached[-1] if over and reached else value["base"]

    return {over: {name: usd(at(value, over), f"{where} {name}", notes) for name, value in values.items()} for over in [0, *starts]}


def of_today(prices: Any, today: str) -> dict[str, Any]:
    """The prices in force: by date the latest, by the time of day the dearest."""
    if isinstance(prices, dict):
        return prices
    dated = [entry for entry in prices if "start_time" not in entry.get("constraint", {})]
    hourly = [entry for entry in prices if "start_time" in entry.get("constraint", {})]
    current = [entry for entry in dated if entry.get("constraint", {}).get("start_date", "") <= today][-1]
    found: dict[str, Any] = max([current, *hourly], key=lambda entry: entry["prices"]["output_mtok"] if hourly else 0)["prices"]
    return found


def genai_model(model: dict[str, Any], today: str, where: str, notes: list[str]) -> Cards | None:
    """Every card of a model; `None` where it is not charged by tokens alone."""
    standard = of_today(model["prices"], today)
    unknown = set(standard) - set(GENAI.values()) - BESIDE
    video = standard.get("input_video_mtok", 0)
    if "input_mtok" not in standard or unknown - {"input_video_mtok"} or video > standard.get("input_image_mtok", 0):
        return None
    cards = {("standard", over): rates for over, rates in genai_rates(standard, where, notes).items()}
    for variant in model.get("price_variants", []):
        when = variant["when"]
        tier = "batch" if when == {"processing": "batch"} else when.get("service_tier")
        if tier in TIERS and variant.get("constraint", {}).get("start_date", "") <= today:
            merged = {**standard, **variant["prices"]}
            cards.update({(tier, over): rates for over, rates in genai_rates(merged, f"{where} {tier}", notes).items()})
    return cards


def litellm_cards(row: dict[str, Any], where: str, notes: list[str]) -> Cards:
    """Every card of a row of the second source, as far as it gives them."""
    cards: Cards = {}
    for name, stem in LITELLM.items():
        for key, value in row.items():
            # What OpenAI keeps for a day is written at the rate of a class that has our name of Anthropic's hour.
            key = key.replace("_above_12hr", "_above_1hr")
            found = re.fullmatch(re.escape(stem) + r"(?:_above_(\d+)k_tokens)?(_flex|_priority|_batches)?", key)
            if found and value is not None:
                card = (LITELLM_TIERS[found[2] or ""], int(found[1] or 0) * 1000)
                cards.setdefault(card, {})[name] = usd(value * 1_000_000, f"{where} {name}", notes)
    # A card without input or output rates prices nothing.
    return {card: rates for card, rates in cards.items() if "input" in rates and ("output" in rates or card[0] == "standard")}


def names_of(match: dict[str, Any]) -> Iterator[str]:
    """The names a rule of the first source stands for; what it says of beginnings is read as whole names, for we guess none."""
    for operation, value in match.items():
        if operation in ("or", "and"):
            for rule in value:
                yield from names_of(rule)
        elif operation != "regex":
            name = value.rstrip("-@")
            if not re.search(r"^ft:|-20\d\d$", name):
                yield name


def left_out(provider: str, model: str) -> bool:
    """Fine-tunes, which come from the second source with all their bases, and open models that OpenAI does not sell itself."""
    return "ft:" in model or ".ft-" in model or (provider == "openai" and model.startswith("gpt-oss"))


class Tables:
    """What the two sources say together."""

    def __init__(self, genai: list[Any], litellm: dict[str, Any], today: str) -> None:
        self.litellm, self.today = litellm, today
        self.notes: list[str] = []
        self.prices: dict[tuple[str, str], dict[tuple[str, int], tuple[Rates, str]]] = {}
        self.names: dict[tuple[str, str], str] = {}
        self.windows: dict[tuple[str, str], int] = {}
        for provider in genai:
            if provider["id"] in PROVIDERS:
                self.take_provider(provider["id"], provider["models"])
        for (owner, model), name in ELSEWHERE.items():
            dated = re.fullmatch(r"anthropic\.(claude-.*-20\d{6})-v\d(:\d)?", name)
            if dated:
                self.names.setdefault((owner, dated[1]), model)
        self.take_fine_tunes()
        self.take_second("openai", {"openai", "text-completion-openai"})
        self.take_second("anthropic", {"anthropic"})

    def take_provider(self, provider: str, models: list[Any]) -> None:
        """Takes the models of the first source: ids first, then other names, the first that has one keeps it."""
        kept = []
        for model in models:
            cards = genai_model(model, self.today, f"{provider} {model['id']}", self.notes)
            if cards and not left_out(provider, model["id"]):
                kept.append((model, cards))
                self.names[provider, model["id"]] = model["id"]
        for model, cards in kept:
            key = (provider, model["id"])
            if model.get("context_window"):
                self.windows[key] = int(model["context_window"])
            for name in names_of(model["match"]):
                self.names.setdefault((provider, name), model["id"])
            self.prices[key] = {card: (rates, "genai-prices") for card, rates in cards.items()}
            self.fill(key)

    def second(self, key: tuple[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The rows of the second source that may be about this model: by its own name, then by its others."""
        provider, model = key
        names = [model, *(name for (owner, name), id in self.names.items() if owner == provider and id == model and name != model)]
        for name in names:
            for prefix in PROVIDERS[provider]:
                row = self.litellm.get(prefix + name)
                if row is not None:
                    yield prefix + name, row

    def fill(self, key: tuple[str, str]) -> None:
        """Fills what the first source leaves out, from the first row of the second that has the same input and output."""
        base = self.prices[key]["standard", 0][0]
        completed = False
        for name, row in self.second(key):
            theirs = litellm_cards(row, name, [])
            standard = theirs.get(("standard", 0))
            if standard is None:
                continue
            self.differ(key, name, theirs)
            agree = all(standard.get(rate, Decimal(0)) == base.get(rate, Decimal(0)) for rate in ("input", "output"))
            if agree and not completed:
                completed = True
                self.complete(key, base, theirs)

    def complete(self, key: tuple[str, str], base: Rates, theirs: Cards) -> None:
        """Adds classes to the cards that are there, and cards that are not."""
        own = self.prices[key]
        sizes = {over for _, over in own}
        for (tier, over), rates in theirs.items():
            if (tier, over) in own:
                mine, source = own[tier, over]
                new = {name: value for name, value in rates.items() if name not in mine}
                if new:
                    own[tier, over] = ({**mine, **new}, f"{source}; {' '.join(sorted(new))}: litellm")
            elif sizes == {0} or over in sizes:
                below = own.get((tier, 0), (base, ""))[0]
                own[tier, over] = ({**below, **rates}, "litellm")
            else:
                self.notes.append(f"left out: {' '.join(key)}: {tier} over {over}, which is only in litellm")

    def differ(self, key: tuple[str, str], name: str, theirs: Cards) -> None:
        """Notes where the two sources differ, for the two providers."""
        if key[0] not in ("openai", "anthropic"):
            return
        for card, (rates, _) in self.prices[key].items():
            for rate, mine in rates.items():
                other = theirs.get(card, {}).get(rate, mine)
                if mine != other:
                    where = f"{' '.join(key)}: {card[0]} over {card[1]}: {rate}"
                    self.notes.append(f"differs: {where}: genai-prices {text(mine)}, litellm ({name}) {text(other)}")

    def take_fine_tunes(self) -> None:
        """Takes the fine-tunes, whose bases only the second source names in full."""
        for name, row in self.litellm.items():
            if name.startswith("ft:") and row["litellm_provider"] in ("openai", "text-completion-openai"):
                self.add("openai", name, row)

    def take_second(self, provider: str, owners: Any) -> None:
        """Takes the models that only the second source has."""
        modes = ("chat", "responses", "embedding", "completion")
        for name, row in self.litellm.items():
            new = "/" not in name and (provider, name) not in self.names
            if new and row.get("litellm_provider") in owners and row.get("mode") in modes and not self.is_dated(provider, name, row):
                self.add(provider, name, row)

    def is_dated(self, provider: str, name: str, row: dict[str, Any]) -> bool:
        """Takes a name that is a known one with a date, and costs the same, as another name of that model."""
        model = self.names.get((provider, re.sub(r"-20\d\d-?\d\d-?\d\d$", "", name)))
        if model is None:
            return False
        base, theirs = self.prices[provider, model]["standard", 0][0], litellm_cards(row, name, [])
        same = all(theirs.get(("standard", 0), {}).get(rate) == base.get(rate) for rate in ("input", "output"))
        if same:
            self.names[provider, name] = model
            self.complete((provider, model), base, theirs)
        return same

    def add(self, provider: str, name: str, row: dict[str, Any]) -> None:
        """Adds a row of the second source."""
        cards = litellm_cards(row, name, self.notes)
        if ("standard", 0) in cards:
            self.names[provider, name] = name
            standard = cards["standard", 0]
            self.prices[provider, name] = {card: ({**standard, **rates}, "litellm") for card, rates in cards.items()}

    def limits(self, key: tuple[str, str]) -> tuple[str, str, str, str]:
        """Output limit and context window, each with its source; of two windows the larger, for it is a bound."""
        output, window, source = None, self.windows.get(key), "genai-prices"
        rows = [row for _, row in self.second(key)]
        for row in [*rows, self.litellm.get(ELSEWHERE.get(key, ""), {})]:
            output = output or row.get("max_output_tokens")
            # Some give input and output together, some input alone.
            theirs = row.get("max_input_tokens") or 0
            if theirs > (window or 0):
                window, source = theirs, "litellm"
        output_source = "litellm"
        if not output and window and self.prices[key]["standard", 0][0].get("output"):
            output, output_source = window, "context_window"
        if not self.prices[key]["standard", 0][0].get("output"):
            output = None
        if output and (window or 0) < output:
            window, source = output, output_source
        return (str(output or ""), output_source if output else "", str(window or ""), source if window else "")


def text(value: Decimal) -> str:
    """A number without exponent and without idle zeros."""
    return f"{value:f}".rstrip("0").rstrip(".") if "." in f"{value:f}" else f"{value:f}"


def write(name: str, head: list[str], columns: list[str], rows: list[list[str]]) -> None:
    """Writes a table with its head as comments."""
    lines = [*(f"# {line}" for line in head), "\t".join(columns), *("\t".join(row) for row in rows)]
    (HERE / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Reads the two sources and writes the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("genai_prices", type=Path)
    parser.add_argument("litellm", type=Path)
    parser.add_argument("--genai", required=True, help="the version of genai-prices")
    parser.add_argument("--litellm-version", required=True, help="the version of litellm")
    parser.add_argument("--date", required=True, help="the day whose prices are taken, YYYY-MM-DD")
    given = parser.parse_args()
    load = [json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal) for path in (given.genai_prices, given.litellm)]
    tables = Tables(load[0], load[1], given.date)
    both = f"genai-prices {given.genai} and litellm {given.litellm_version}"
    sources = f"Figures of {both} (both MIT) as of {given.date}; made by refresh.py."
    keys = sorted(tables.prices)
    prices = [
        [*key, tier, str(over), *(text(rates[name]) if name in rates else "" for name in CLASSES), source]
        for key in keys
        for (tier, over), (rates, source) in sorted(tables.prices[key].items(), key=lambda item: (TIERS.index(item[0][0]), item[0][1]))
    ]
    head = [f"version: {given.date}/genai-prices-{given.genai}", f"second: {given.date}/litellm-{given.litellm_version}", sources]
    head += ["USD a million tokens; empty: the source gives none. `over`: for calls with more input tokens than this."]
    head += sorted(set(tables.notes))
    write("prices.tsv", head, ["provider", "model", "tier", "over", *CLASSES, "source"], prices)
    limits = [[*key, *tables.limits(key)] for key in keys]
    columns = ["provider", "model", "max_output_tokens", "source", "context_window", "source"]
    write("limits.tsv", [sources, "Tokens; empty: neither source gives any."], columns, [row for row in limits if any(row[2:])])
    names = [[provider, name, model] for (provider, name), model in sorted(tables.names.items()) if name != model]
    write("names.tsv", [sources, "Other names of the models of prices.tsv."], ["provider", "name", "model"], names)


if __name__ == "__main__":
    main()
