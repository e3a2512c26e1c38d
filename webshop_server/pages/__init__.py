"""What a shopper sees: pages as values, and their texts, links, addresses and HTML."""

from turngym.webshop_server.pages.addresses import (
    Address,
    AddressError,
    address_of,
    path_of,
    read_address,
)
from turngym.webshop_server.pages.html import STATIC, environment, page_context, page_html, page_picture
from turngym.webshop_server.pages.links import clickables, target_of, usable_actions
from turngym.webshop_server.pages.page import (
    BACK_TO_SEARCH,
    BUY,
    NEXT,
    ORIGIN,
    PREVIOUS,
    RESULTS_PER_PAGE,
    SEARCH,
    Button,
    Choice,
    Detail,
    Link,
    Page,
    PageKind,
    Part,
)
from turngym.webshop_server.pages.texts import SEPARATOR, plain_text, quoted_text, rich_text

__all__ = [
    "BACK_TO_SEARCH",
    "BUY",
    "NEXT",
    "ORIGIN",
    "PREVIOUS",
    "RESULTS_PER_PAGE",
    "SEARCH",
    "SEPARATOR",
    "STATIC",
    "Address",
    "AddressError",
    "Button",
    "Choice",
    "Detail",
    "Link",
    "Page",
    "PageKind",
    "Part",
    "address_of",
    "clickables",
    "environment",
    "page_context",
    "page_html",
    "page_picture",
    "path_of",
    "plain_text",
    "quoted_text",
    "read_address",
    "rich_text",
    "target_of",
    "usable_actions",
]
