"""What the mount shows: nodes, names, open files and drops of the backing tree, without pyfuse3.

`tree` changes names, `handles` moves bytes, `drops` knows what is to be imported, `survey` walks. All of it runs on
the mount's one loop and makes system calls directly: a call of `lstat` costs 1 µs, a trip to a thread 40 µs.
"""
