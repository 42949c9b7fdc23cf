"""The dashboard at `/`: pages for operators, drawn by the server from what the API's own functions say.

    request ─▶ who is signed in, is the role enough? (entering) ─▶ views of rows ─▶ template ─▶ page (showing)
    form    ─▶ from our own page? (forms) ─▶ what the API's verb does ─▶ redirect with a line on what happened

A page works without JavaScript. With it, static/live.js listens to /api/v1/events and swaps what the server draws anew.
"""
