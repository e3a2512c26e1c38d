"""The shop as a web site: pages for people and clients of the original, and an interface for agents."""

from turngym.webshop_server.site.app import create_app
from turngym.webshop_server.site.operator_key import weakness
from turngym.webshop_server.site.serving import LOOPBACK, log_requests, serve
from turngym.webshop_server.site.state import SiteSettings

__all__ = [
    "LOOPBACK",
    "SiteSettings",
    "create_app",
    "log_requests",
    "serve",
    "weakness",
]
