"""What the kernel takes from a process that reads what nobody has checked: system calls, files, network."""
