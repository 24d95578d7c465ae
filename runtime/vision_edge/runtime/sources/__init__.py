"""Where frames come from: files, videos, cameras, streams. Imports `images` and below."""
