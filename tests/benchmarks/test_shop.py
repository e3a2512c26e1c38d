"""The shop's benchmark: its script shops, and its page says what was measured."""

from __future__ import annotations

from pathlib import Path

from turngym.benchmarks.shop import Options, main, shop_by_script
from turngym.webshop_server.settings import ShopSettings
from turngym.webshop_server.shop import open_shop


def test_the_script_searches_looks_chooses_and_buys() -> None:
    backend = open_shop(ShopSettings(num_products=50))
    played = [shop_by_script(backend, number) for number in range(20)]
    assert all(3 <= steps <= 7 and 0 <= reward <= 1 for steps, reward in played)
    assert any(steps > 3 for steps, _ in played) and any(reward > 0.3 for _, reward in played)


def test_the_page_holds_both_modes(tmp_path: Path) -> None:
    path = tmp_path / "results" / "shop.md"
    page = main(Options(num_products=50, episodes=5, out=path))
    assert page == path.read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    assert [row[0] for row in rows] == ["mode", "---", "fixed", "faithful"]
    assert rows[2][1] == "50" and all(len(row) == 8 for row in rows)
