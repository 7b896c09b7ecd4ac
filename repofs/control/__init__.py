"""The control socket: requests of commands to the running daemon, each with the caller's own rights."""
