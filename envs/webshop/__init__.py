"""WebShop: find the product that an instruction asks for, choose its options and buy it."""

from turngym.extras import install_command

try:
    from turngym.envs.webshop.env import ABOUT_THE_SHOP, WebShopEnv
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"WebShop needs {error.name}: {install_command('webshop')}", name=error.name) from error

__all__ = ["ABOUT_THE_SHOP", "WebShopEnv"]
