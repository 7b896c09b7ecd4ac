"""`repofs fsck`: catalogue against tree, both ways, and each by itself. Blocking; needs the rights of the daemon."""
