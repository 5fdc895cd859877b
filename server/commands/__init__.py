"""The subcommands about models on disk: pull, import, list, show, rm."""
