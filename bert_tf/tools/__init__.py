"""The command line: flags to a config, the config to the library."""
