"""Labelled images: folders and archives of them. Imports the runtime alone."""
