"""The subcommands of ``dpaudit``: the thin edge between arguments, files and the packages that do the work."""
