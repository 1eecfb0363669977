"""One thin module per command: parse, build a configuration, call the core, hand the result to the console."""
