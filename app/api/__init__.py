"""The HTTP API: what callers may rely on.

answer_in_time ─▶ local_door ─▶ body_limit ─▶ path_segments ─▶ route: auth ─▶ endpoint ─▶ app.sync (verbs) or
app.persistence (reads)                                                           └─▶ problems.py: errors as documents
"""

from app.api.path_segments import register_convertors

register_convertors()  # before any module below declares a route with `{name:segment}`
