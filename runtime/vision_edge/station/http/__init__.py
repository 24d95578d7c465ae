"""The station over HTTP: the app, who may do what, streams, the API and the page.

Only here are status codes known.
"""
