"""A shop that keeps its own copy of the catalogue, in SQLite, as docs/shop.md explains. Needs httpx, standardwebhooks.

    nothing kept, 410 or 422 ─▶ rebuild: everything as of one moment, a product a line, and the number to go on from
    else                 ─▶ follow: the changes since that number; the products that they name are read anew, and
                            those that a variant has moved from
    nothing new          ─▶ one 304, and nothing is read

    python shop_client.py http://127.0.0.1:8000 shop.sqlite           once, as every night
    python shop_client.py http://127.0.0.1:8000 shop.sqlite 9000      and again whenever a webhook says so, on port 9000

PROMIDATA_KEY is the API key, WEBHOOK_SECRET the secret that creating the webhook answered. What goes wrong
ends it with a line and exit code 1; where it waits for webhooks, it says so and waits for the next.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import httpx
from standardwebhooks import Webhook, WebhookVerificationError

LINES = {"Accept": "application/x-ndjson"}
EVERY_S = 3600
TABLES = """
CREATE TABLE IF NOT EXISTS products (supplier TEXT, sku TEXT, product TEXT, PRIMARY KEY (supplier, sku));
CREATE TABLE IF NOT EXISTS variants (supplier TEXT, sku TEXT, product_sku TEXT, PRIMARY KEY (supplier, sku));
CREATE INDEX IF NOT EXISTS variants_of_product ON variants (supplier, product_sku);
CREATE TABLE IF NOT EXISTS position (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER, etag TEXT);
"""


class Shop:
    """The copy, and the way to the service."""

    def __init__(self, url: str, file: str) -> None:
        headers = {"Authorization": f"Bearer {key}"} if (key := os.environ.get("PROMIDATA_KEY")) else {}
        self.http = httpx.Client(base_url=f"{url.rstrip('/')}/api/v1", headers=headers, timeout=60)
        self.db = sqlite3.connect(file)
        self.db.executescript(TABLES)

    def night(self) -> str:
        """Bring the copy up to date; says what that took."""
        kept = self.db.execute("SELECT seq, etag FROM position").fetchone()
        return self.rebuild() if kept is None else self.follow(*kept)

    def rebuild(self) -> str:
        """Take everything. The stream ends early where something broke: the old copy stays then."""
        with self.http.stream("GET", "/products", headers=LINES) as answer, self.db:
            answer.raise_for_status()
            self.db.execute("DELETE FROM products")
            self.db.execute("DELETE FROM variants")
            for line in answer.iter_lines():
                self.keep(json.loads(line))
            self.move(int(answer.headers["X-Changes-Head"]), None)
        return "rebuilt"

    def follow(self, seq: int, etag: str | None) -> str:
        """Take what changed since `seq`, a page a transaction; whoever is killed goes on with the next page."""
        read = 0
        while True:
            headers = {"If-None-Match": etag} if etag else {}
            answer = self.http.get("/changes", params={"since": seq, "limit": 500}, headers=headers)
            if answer.status_code == httpx.codes.NOT_MODIFIED:
                return f"unchanged, {read} products read"
            # the changes since then are forgotten; or the service was restored from a time before them
            if answer.status_code in {httpx.codes.GONE, httpx.codes.UNPROCESSABLE_ENTITY}:
                return self.rebuild()
            page = answer.raise_for_status().json()
            if not page["items"]:
                with self.db:
                    self.move(seq, answer.headers["ETag"])
                return f"up to date, {read} products read"
            with self.db:
                for supplier, sku in set().union(*(self.meant(item) for item in page["items"])):
                    self.keep(self.product(supplier, sku))
                    read += 1
                seq, etag = page["items"][-1]["seq"], None
                self.move(seq, None)

    def product(self, supplier: str, sku: str) -> dict[str, Any]:
        """One product as it is now, which may be newer than the change: then its next change comes for nothing."""
        answer = self.http.get(f"/products/{quote(sku, safe='')}", params={"supplier": supplier})
        product: dict[str, Any] = answer.raise_for_status().json()
        return product

    def keep(self, product: dict[str, Any]) -> None:
        """Nothing ever leaves the catalogue: what is no longer sold has `status: discontinued`."""
        supplier, sku = product["supplier"], product["sku"]
        self.db.execute("INSERT OR REPLACE INTO products VALUES (?, ?, ?)", (supplier, sku, json.dumps(product)))
        self.db.execute("DELETE FROM variants WHERE supplier = ? AND product_sku = ?", (supplier, sku))
        rows = [(supplier, variant["sku"], sku) for variant in product["variants"]]
        self.db.executemany("INSERT OR REPLACE INTO variants VALUES (?, ?, ?)", rows)

    def meant(self, change: dict[str, Any]) -> set[tuple[str, str]]:
        """The products that look otherwise: the one that is named, and the one that a variant has moved from."""
        supplier, found = change["supplier"], {change["productSku"]}
        if "productSku" in change["fields"]:
            had = "SELECT product_sku FROM variants WHERE supplier = ? AND sku = ?"
            found |= {sku for (sku,) in self.db.execute(had, (supplier, change["sku"]))}
        return {(supplier, sku) for sku in found}

    def move(self, seq: int, etag: str | None) -> None:
        """Remember how far the copy is, in the transaction that brought it there."""
        self.db.execute("INSERT OR REPLACE INTO position VALUES (1, ?, ?)", (seq, etag))


def listen(port: int, secret: str, wake: threading.Event) -> None:
    """Take webhooks. The same one may come twice, and one may be lost: each only wakes, the numbers do the rest."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                Webhook(secret).verify(body, {name.lower(): value for name, value in self.headers.items()})
            except WebhookVerificationError:
                self.send_error(401)
                return
            wake.set()
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *said: Any) -> None:
            """Nothing to tell."""

    threading.Thread(target=ThreadingHTTPServer(("127.0.0.1", port), Hook).serve_forever, daemon=True).start()


def went_well(shop: Shop, url: str) -> bool:
    """A night; what became of it is said. The copy of one that did not go well is as it was, or a few pages further."""
    try:
        print(shop.night(), flush=True)
    except httpx.HTTPStatusError as error:
        complain(
            f"{error.request.method} {error.request.url}: {error.response.status_code} {error.response.reason_phrase}"
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        complain(f"{url}: {error or type(error).__name__}; is the service running there?")
    else:
        return True
    return False


def complain(message: str) -> None:
    """Say what failed."""
    sys.stderr.write(f"shop_client: {message}\n")


def main(url: str, file: str, port: str | None = None) -> int:
    """Once, or for ever; returns the exit code."""
    shop, wake = Shop(url, file), threading.Event()
    if port is not None:
        listen(int(port), os.environ["WEBHOOK_SECRET"], wake)
    while True:
        well = went_well(shop, url)
        if port is None:
            return 0 if well else 1
        wake.wait(EVERY_S)
        wake.clear()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
