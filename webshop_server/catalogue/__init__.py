"""Catalogues of products: generated, read from files of the original WebShop, or kept in SQLite."""

from turngym.webshop_server.catalogue.catalogue import Catalogue
from turngym.webshop_server.catalogue.checking import FileReport, check
from turngym.webshop_server.catalogue.files import CatalogueFiles, read_records
from turngym.webshop_server.catalogue.generated import (
    MAX_PRODUCTS,
    MIN_PRODUCTS,
    generate_catalogue,
    generate_records,
    records_of,
)
from turngym.webshop_server.catalogue.json_stream import CatalogueFileError
from turngym.webshop_server.catalogue.records import ProductRecords, RecordError, build_product
from turngym.webshop_server.catalogue.sidecar import write_sidecar
from turngym.webshop_server.catalogue.sources import STORE_SUFFIX, AnyCatalogue, goals_of, open_catalogue
from turngym.webshop_server.catalogue.store import CatalogueStoreError, StoredCatalogue, write_catalogue

__all__ = [
    "MAX_PRODUCTS",
    "MIN_PRODUCTS",
    "STORE_SUFFIX",
    "AnyCatalogue",
    "Catalogue",
    "CatalogueFileError",
    "CatalogueFiles",
    "CatalogueStoreError",
    "FileReport",
    "ProductRecords",
    "RecordError",
    "StoredCatalogue",
    "build_product",
    "check",
    "generate_catalogue",
    "generate_records",
    "goals_of",
    "open_catalogue",
    "read_records",
    "records_of",
    "write_catalogue",
    "write_sidecar",
]
