"""The server's commands; each module's `app` is loaded when its command is called."""
