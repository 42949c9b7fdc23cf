"""All pages of the dashboard, for the composition root."""

from __future__ import annotations

from app.dashboard import audit, catalogue, overview, queues, runs, sign_in, static_files, suppliers, webhooks

PAGES = (overview, sign_in, runs, queues, catalogue, suppliers, webhooks, audit, static_files)
