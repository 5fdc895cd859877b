"""The subcommands of `llamapack`: each has a function that runs it."""
