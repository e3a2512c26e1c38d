"""The shop: where actions lead from page to page, and sessions of it, in this process or on a server."""

from turngym.webshop_server.shop.backend import ShopBackend, ShopSession, Split
from turngym.webshop_server.shop.connection import KEY_VARIABLE, RemoteShopError
from turngym.webshop_server.shop.faithful import FaithfulShop
from turngym.webshop_server.shop.fixed import MAX_QUERY_CHARS, FixedShop, read_action
from turngym.webshop_server.shop.local import LocalBackend, LocalSession, open_shop
from turngym.webshop_server.shop.remote import RemoteBackend, RemoteSession
from turngym.webshop_server.shop.shop import ENDED, MAX_RESULTS, Move, Shop
from turngym.webshop_server.shop.wishes import UnfulfilledWishError, WishError, Wishes

__all__ = [
    "ENDED",
    "KEY_VARIABLE",
    "MAX_QUERY_CHARS",
    "MAX_RESULTS",
    "FaithfulShop",
    "FixedShop",
    "LocalBackend",
    "LocalSession",
    "Move",
    "RemoteBackend",
    "RemoteSession",
    "RemoteShopError",
    "Shop",
    "ShopBackend",
    "ShopSession",
    "Split",
    "UnfulfilledWishError",
    "WishError",
    "Wishes",
    "open_shop",
    "read_action",
]
