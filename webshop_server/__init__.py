"""The shop behind the WebShop environment."""
