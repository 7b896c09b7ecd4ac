/* Directories listed without a word of Python: see _listings.c. */
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>

bool listings_answer(int device, const void *request, size_t length);
PyObject *listings_begin(PyObject *module, PyObject *arguments);
void listings_forget_all(void);
