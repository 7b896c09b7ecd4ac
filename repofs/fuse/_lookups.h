/* Names looked up without a word of Python: see _lookups.c. */
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>

bool lookups_answer(int device, const void *request, size_t length);
PyObject *lookups_know(PyObject *module, PyObject *arguments);
PyObject *lookups_knows(PyObject *module, PyObject *ino);
void lookups_forget_all(void);
