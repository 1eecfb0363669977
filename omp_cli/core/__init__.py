"""The library behind the command line: never prints, knows neither Typer nor Rich."""
