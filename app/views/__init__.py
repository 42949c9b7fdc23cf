"""What is shown: a model and one function from row to model a subject, masked here and nowhere else.

The API, the command line, the dashboard and the webhook sender use the same functions, so that they cannot differ. No
FastAPI: a view knows rows and settings, not requests.
"""
