"""The `vision-edge` command: one Typer app, a module a command."""
