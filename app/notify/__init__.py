"""Telling the shop: how a webhook is signed, sent, judged and tried again. What is to be sent is persistence's matter.

This folder knows no database: it takes a delivery, makes one request, and says what came of it.
"""
