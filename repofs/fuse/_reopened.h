/* Files that were opened before, opened again: see _reopened.c. */
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>

bool reopened_answer(int device, void *request, size_t length);
bool reopened_wait(int device);
PyObject *reopened_remember(PyObject *module, PyObject *arguments);
void reopened_forget_all(void);
PyObject *reopened_descriptor(PyObject *module, PyObject *ino);
