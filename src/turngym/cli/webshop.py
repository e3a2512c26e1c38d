"""`turngym webshop`: the catalogues of the shop, generated, looked into and checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich import box
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from turngym.cli.errors import UsageError, nearest
from turngym.cli.options import parse
from turngym.cli.terminal import TerminalProgress, make_console, printable
from turngym.trainers.progress import Progress
from turngym.webshop_server.catalogue import Product, ProductRecords
from turngym.webshop_server.catalogue_files import FileReport, check
from turngym.webshop_server.catalogue_store import write_catalogue
from turngym.webshop_server.catalogues import STORE_SUFFIX, open_catalogue
from turngym.webshop_server.generated import MAX_PRODUCTS, MIN_PRODUCTS, generate_records


@dataclass(frozen=True)
class GenerateOptions:
    """Write a catalogue of invented products, which environments take as their catalogue."""

    out: Annotated[Positional[Path], arg(metavar="FILE")]
    """The file to write, ending in .sqlite; it must not exist."""
    num_products: int = 1000
    """How many products, 10 to 1,180,000; a larger catalogue begins with the smaller one."""
    seed: int = 0
    """Everything depends on it."""


@dataclass(frozen=True)
class InspectOptions:
    """Say what a catalogue holds, and show one of its products."""

    catalogue: Annotated[Positional[str], arg(metavar="CATALOGUE")] = ""
    """A catalogue in SQLite, a product file or a folder of the original WebShop; the generated one if not given."""
    num_products: int | None = None
    """How many products: of a generated catalogue (1000 if not given), or the first of a file."""
    asin: str = ""
    """The product to show; the first one if not given."""


@dataclass(frozen=True)
class CheckOptions:
    """Look through files of the original WebShop for what is missing, malformed or duplicated."""

    files: Annotated[Positional[tuple[Path, ...]], arg(metavar="FILE...")]
    """Products, attributes and instructions, in any order, plain or gzipped."""


def run(words: Sequence[str]) -> int:
    """Run a part of the command and return its exit code."""
    parts: Mapping[str, Callable[[Sequence[str], Console], int]] = {
        "generate": generate, "inspect": inspect, "check": check_files,
    }  # fmt: skip
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: turngym webshop {{{','.join(parts)}}} [ARGUMENTS]; each has a --help of its own")
        return 0
    if words[0] not in parts:
        raise UsageError(f"webshop has no part {words[0]!r}{nearest(words[0], parts)}")
    return parts[words[0]](words[1:], make_console())


def generate(words: Sequence[str], console: Console) -> int:
    """Write a generated catalogue."""
    options = parse(GenerateOptions, words, command="webshop generate")
    if options.out.suffix != STORE_SUFFIX:
        raise UsageError(f"{options.out} must end in {STORE_SUFFIX}, by which a catalogue is known")
    if options.out.exists():
        raise UsageError(f"{options.out} exists already; name another file")
    if not MIN_PRODUCTS <= options.num_products <= MAX_PRODUCTS:
        raise UsageError(f"--num-products takes {MIN_PRODUCTS} to {MAX_PRODUCTS:,}, not {options.num_products}")
    with TerminalProgress(console) as progress:
        progress.phase("products", options.num_products)
        try:
            written = write_catalogue(options.out, counted(options, progress))
        except OSError as error:
            raise UsageError(f"{options.out} cannot be written: {error.strerror}") from error
    console.print(f"{written:,} products in {options.out}. Look into it: turngym webshop inspect {options.out}")
    return 0


def counted(options: GenerateOptions, progress: Progress) -> Iterator[ProductRecords]:
    """Yield the generated records, and tell the progress about each."""
    for records in generate_records(options.num_products, options.seed):
        yield records
        progress.advance()


def inspect(words: Sequence[str], console: Console) -> int:
    """Print what a catalogue holds, and one product."""
    options = parse(InspectOptions, words, command="webshop inspect")
    try:
        catalogue = open_catalogue(options.catalogue, num_products=options.num_products)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{options.catalogue} cannot be read: {error.strerror}") from error
    asin = options.asin.upper() or next(iter(catalogue), "")
    if asin not in catalogue:
        raise UsageError(f"there is no product {asin!r} in this catalogue of {len(catalogue):,}")
    console.print(overview(catalogue))
    console.print(portrait(catalogue[asin]))
    return 0


def overview(catalogue: Mapping[str, Product]) -> Table:
    """Return how many products each department has, with what."""
    facts: dict[str, Callable[[Product], object]] = {
        "products": lambda product: product.asin,
        "options": lambda product: product.options,
        "a price range": lambda product: len(product.prices) > 1,
        "an instruction": lambda product: product.synthetic,
        "people's wishes": lambda product: product.human,
    }
    counts: dict[str, Counter[str]] = {}
    for product in catalogue.values():
        counts.setdefault(product.category, Counter()).update(name for name, has in facts.items() if has(product))
    table = Table(title=f"{len(catalogue):,} products", box=box.SIMPLE_HEAD, title_justify="left")
    for heading in ("department", *facts):
        table.add_column(heading, justify="left" if heading == "department" else "right")
    for department, count in sorted(counts.items()):
        table.add_row(department, *(f"{count[fact]:,}" for fact in facts))
    return table


def portrait(product: Product) -> Table:
    """Return all that is known of a product."""
    table = Table(title=product.asin, box=box.SIMPLE_HEAD, show_header=False, title_justify="left")
    facts = {
        "title": product.title,
        "category": product.product_category,
        "query": product.query,
        "price": product.price_tag,
        **{name: ", ".join(values) for name, values in product.options.items()},
        "attributes": ", ".join(product.attributes),
        "features": "\n".join(product.bullet_points),
        "description": product.description,
        "instruction": product.synthetic.text if product.synthetic else "",
        "wishes": "\n".join(wish.text for wish in product.human),
    }
    for name, text in facts.items():
        table.add_row(name, printable(text))
    return table


def check_files(words: Sequence[str], console: Console) -> int:
    """Print what is wrong with files of a catalogue; return 1 if they cannot be used as they are."""
    options = parse(CheckOptions, words, command="webshop check")
    if not options.files:
        raise UsageError("webshop check needs FILES; see turngym webshop check --help")
    missing = [path for path in options.files if not path.is_file()]
    if missing:
        raise UsageError(f"there is no file {missing[0]}")
    report = check(options.files)
    for file in report.files:
        describe_file(file, console)
    console.print("These files can be used as they are." if report.usable else "These files cannot be used; see above.")
    return int(not report.usable)


def describe_file(file: FileReport, console: Console) -> None:
    """Print what a file holds and what is wrong with it."""
    kind = "nothing that a catalogue has" if file.kind is None else file.kind
    counts = ", ".join(f"{count:,} {name}" for name, count in file.counts.items())
    console.print(f"{file.path}: {kind}{f' ({counts})' if counts else ''}")
    for problem in file.problems:
        console.print(f"  {printable(str(problem))}")
    for name, count in file.problem_counts.items():
        console.print(f"  in all: {count:,} {name}")
