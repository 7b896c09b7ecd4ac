"""The door to the kernel: pyfuse3 and nothing else. Requests are translated, carried out by `namespace`, answered."""
