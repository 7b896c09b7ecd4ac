/* What other C modules count references by: see _packed.c. */
#include <Python.h>
#include <stdint.h>

#define PACKED_CAPSULE "repofs.namespace._packed.capsule"

struct packed_functions {
    /* As Packed.refer: the generation, PACKED_NEEDS_NODE, or PACKED_FAILED with an exception set. */
    int64_t (*refer)(PyObject *packed, uint64_t ino, uint64_t directory, PyObject *children, PyObject *name);
    /* The node of *ino*, borrowed; NULL when there is none. */
    PyObject *(*node)(PyObject *packed, uint64_t ino);
};

enum { PACKED_NEEDS_NODE = -1, PACKED_FAILED = -2 };
