"""`turngym webshop`: the shop as a site, and its catalogues: generated, converted, indexed, looked into, checked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from rich import box
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from turngym.cli.errors import UsageError
from turngym.cli.options import parse
from turngym.cli.terminal import TerminalProgress, make_console
from turngym.extras import install_command
from turngym.names import nearest
from turngym.trainers.reporting.progress import Progress
from turngym.webshop_server.catalogue import (
    MAX_PRODUCTS,
    MIN_PRODUCTS,
    STORE_SUFFIX,
    AnyCatalogue,
    CatalogueFileError,
    CatalogueFiles,
    FileReport,
    ProductRecords,
    check,
    generate_records,
    open_catalogue,
    read_records,
    write_catalogue,
    write_sidecar,
)
from turngym.webshop_server.product import Product, with_cents
from turngym.webshop_server.settings import Engine

_Counted = TypeVar("_Counted")


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
class ConvertOptions:
    """Write files of the original WebShop as a catalogue in SQLite, which shops with many products need."""

    out: Annotated[Positional[Path], arg(metavar="FILE")]
    """The file to write, ending in .sqlite; it must not exist."""
    files: Annotated[Positional[tuple[Path, ...]], arg(metavar="FILE...")]
    """Products, attributes and instructions, in any order, plain or gzipped."""
    num_products: int | None = None
    """How many products, the first of the file; all if not given."""


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
    """Products, attributes and instructions, in any order, plain or gzipped; of a folder its JSON files."""
    write_checksums: bool = False
    """Write FILE.sha256 beside each file, if all can be used; a shop that reads the file verifies it from then on."""


@dataclass(frozen=True)
class IndexOptions:
    """Save a search engine's index over a catalogue, with which a shop with many products opens in seconds."""

    out: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """The folder to write; an older index there is replaced."""
    catalogue: str = ""
    """A catalogue in SQLite, a product file or a folder of the original WebShop; the generated one if not given."""
    num_products: int | None = None
    """How many products: of a generated catalogue (1000 if not given), or the first of a file."""
    seed: int = 0
    """Seeds a generated catalogue."""
    engine: Engine = "bm25"
    """The search engine: the built-in one, or Lucene, which `turngym webshop lucene` installs."""


def run(words: Sequence[str]) -> int:
    """Run a part of the command and return its exit code."""
    parts: Mapping[str, Callable[[Sequence[str], Console], int]] = {
        "serve": serve, "generate": generate, "convert": convert, "index": index, "inspect": inspect,
        "check": check_files, "replay": replay, "lucene": lucene,
    }  # fmt: skip
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: turngym webshop {{{','.join(parts)}}} [ARGUMENTS]; each has a --help of its own")
        return 0
    if words[0] not in parts:
        raise UsageError(f"webshop has no part {words[0]!r}{nearest(words[0], parts)}")
    return parts[words[0]](words[1:], make_console())


def serve(words: Sequence[str], console: Console) -> int:
    """Run the shop as a web site."""
    try:
        from turngym.cli import webshop_serve as site
    except ModuleNotFoundError as error:
        raise UsageError(f"webshop serve needs {error.name}: {install_command('webshop')}") from error
    return site.run(words, console)


def replay(words: Sequence[str], console: Console) -> int:
    """Do recorded episodes again on a site."""
    from turngym.cli import webshop_replay  # reads episodes, which no other part does

    return webshop_replay.run(words, console)


def lucene(words: Sequence[str], console: Console) -> int:
    """Install the search engine of the original."""
    from turngym.cli import webshop_lucene  # installs packages, which no other part does

    return webshop_lucene.run(words, console)


def generate(words: Sequence[str], console: Console) -> int:
    """Write a generated catalogue."""
    options = parse(GenerateOptions, words, command="webshop generate")
    if not MIN_PRODUCTS <= options.num_products <= MAX_PRODUCTS:
        raise UsageError(f"--num-products takes {MIN_PRODUCTS} to {MAX_PRODUCTS:,}, not {options.num_products}")
    return store(generate_records(options.num_products, options.seed), options.out, options.num_products, console)


def convert(words: Sequence[str], console: Console) -> int:
    """Write files of the original WebShop as a catalogue that need not fit into memory."""
    options = parse(ConvertOptions, words, command="webshop convert")
    if not options.files:
        raise UsageError("webshop convert needs FILES; see turngym webshop convert --help")
    try:
        files = CatalogueFiles.recognize(options.files)
        return store(read_records(files, num_products=options.num_products), options.out, options.num_products, console)
    except CatalogueFileError as error:
        raise UsageError(str(error)) from error


def store(records: Iterable[ProductRecords], out: Path, total: int | None, console: Console) -> int:
    """Write a catalogue in SQLite."""
    if out.suffix != STORE_SUFFIX:
        raise UsageError(f"{out} must end in {STORE_SUFFIX}, by which a catalogue is known")
    if out.exists():
        raise UsageError(f"{out} exists already; name another file")
    with TerminalProgress(console) as progress:
        progress.phase("products", total)
        try:
            written = write_catalogue(out, counted(records, progress))
        except OSError as error:
            raise UsageError(f"{out} cannot be written: {error.strerror or error}") from error
    console.print(f"{written:,} products in {out}. Look into it: turngym webshop inspect {out}", soft_wrap=True)
    return 0


def counted(items: Iterable[_Counted], progress: Progress) -> Iterator[_Counted]:
    """Yield items, and tell the progress about each."""
    for item in items:
        yield item
        progress.advance()


def inspect(words: Sequence[str], console: Console) -> int:
    """Print what a catalogue holds, and one product."""
    options = parse(InspectOptions, words, command="webshop inspect")
    catalogue = opened(options.catalogue, options.num_products)
    asin = options.asin.upper() or next(iter(catalogue), "")
    if asin not in catalogue:
        raise UsageError(f"there is no product {asin!r} in this catalogue of {len(catalogue):,}")
    console.print(overview(catalogue))
    console.print(portrait(catalogue[asin]))
    return 0


def opened(path: str, num_products: int | None, seed: int = 0) -> AnyCatalogue:
    """Return a catalogue, or raise a `UsageError` that says why it cannot be used."""
    try:
        return open_catalogue(path, num_products=num_products, seed=seed)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


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
        "price": with_cents(product.price_tag),
        **{name: ", ".join(values) for name, values in product.options.items()},
        "attributes": ", ".join(product.attributes),
        "features": "\n".join(product.bullet_points),
        "description": product.description,
        "instruction": product.synthetic.text if product.synthetic else "",
        "wishes": "\n".join(wish.text for wish in product.human),
    }
    for name, text in facts.items():
        table.add_row(name, text)
    return table


def check_files(words: Sequence[str], console: Console) -> int:
    """Print what is wrong with files of a catalogue; return 1 if they cannot be used as they are."""
    options = parse(CheckOptions, words, command="webshop check")
    if not options.files:
        raise UsageError("webshop check needs FILES; see turngym webshop check --help")
    files = [file for path in options.files for file in (json_files(path) if path.is_dir() else [path])]
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise UsageError(f"there is no file {missing[0]}")
    report = check(files)
    for file in report.files:
        describe_file(file, console)
    console.print("These files can be used as they are." if report.usable else "These files cannot be used; see above.")
    if report.usable and options.write_checksums:
        write_checksums(files, console)
    return int(not report.usable)


def json_files(folder: Path) -> list[Path]:
    """Return the JSON files of a folder, plain or gzipped, sorted by name.

    Raises:
        UsageError: There is none.
    """
    files = sorted(file for pattern in ("*.json", "*.json.gz") for file in folder.glob(pattern))
    if not files:
        raise UsageError(f"there is no JSON file in {folder}")
    return files


def write_checksums(files: Iterable[Path], console: Console) -> None:
    """Write the checksum of each file beside it."""
    for file in files:
        try:
            console.print(f"Checksum in {write_sidecar(file)}", soft_wrap=True)
        except OSError as error:
            raise UsageError(f"the checksum of {file} cannot be written: {error.strerror or error}") from error


def describe_file(file: FileReport, console: Console) -> None:
    """Print what a file holds and what is wrong with it."""
    kind = "nothing that a catalogue has" if file.kind is None else file.kind
    counts = ", ".join(f"{count:,} {name}" for name, count in file.counts.items())
    console.print(f"{file.path}: {kind}{f' ({counts})' if counts else ''}", soft_wrap=True)
    for problem in file.problems:
        console.print(f"  {problem}", soft_wrap=True)
    for name, count in file.problem_counts.items():
        console.print(f"  in all: {count:,} {name}")


def index(words: Sequence[str], console: Console) -> int:
    """Save an index over a catalogue."""
    options = parse(IndexOptions, words, command="webshop index")
    try:
        from turngym.webshop_server.search import documents_of, save_index
    except ModuleNotFoundError as error:
        raise UsageError(f"webshop index needs {error.name}: {install_command('webshop')}") from error
    catalogue = opened(options.catalogue, options.num_products, options.seed)
    began = time.monotonic()
    with TerminalProgress(console) as progress:
        progress.phase("documents", len(catalogue))
        documents = counted(documents_of(catalogue), progress)
        try:
            save_index(options.engine, documents, options.out, fingerprint=catalogue.fingerprint)
        except (ValueError, ImportError) as error:
            raise UsageError(str(error)) from error
        except OSError as error:
            raise UsageError(f"{options.out} cannot be written: {error.strerror}") from error
    size = sum(path.stat().st_size for path in options.out.rglob("*"))
    console.print(
        f"{len(catalogue):,} documents in {time.monotonic() - began:.0f} s, {size / 2**20:,.1f} MB in {options.out}. "
        f"Shops take it with engine={options.engine!r} and index={str(options.out)!r}.",
        soft_wrap=True,
    )
    return 0
