"""How well and how fast: tables and measurements; nothing else imports them."""
