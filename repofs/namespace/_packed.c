/* Files of which no more is known than where they lie and how often the kernel refers to them: some tens of bytes each.
 *
 * A record is the kernel's references, the generation, and for each name the number of its directory, the name's length
 * and the name. Records are found by inode number, and the numbers in a directory by that of the directory: two
 * tables (`_table`).
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include "_packed.h"
#include "_table.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define STALE 64                         /* numbers in a directory that may be there in vain */

struct record {
    uint32_t lookups, generation;
    uint32_t size;                       /* of places */
    uint8_t places[];                    /* each: 8 bytes of the directory's number, one of the name's length, the name */
};

#define PLACE_HEAD (sizeof(uint64_t) + 1)

struct leaves {                          /* of one directory */
    uint32_t count;                      /* names that are there */
    uint32_t used, size;
    uint64_t *numbers;                   /* of packed files; some come twice, or are not there any more */
};

typedef struct {
    PyObject_HEAD
    PyObject *nodes;                     /* a dict, by inode number: of what is there no record is made */
    struct table records;                /* struct record by inode number */
    struct table directories;            /* struct leaves by inode number */
} Packed;

/* --- places ----------------------------------------------------------------------------------------------------------- */

static uint64_t directory_at(const uint8_t *place)
{
    uint64_t directory;
    memcpy(&directory, place, sizeof directory);
    return directory;
}

static size_t length_at(const uint8_t *place)
{
    return place[sizeof(uint64_t)];
}

static const uint8_t *next_place(const uint8_t *place)
{
    return place + PLACE_HEAD + length_at(place);
}

static const uint8_t *end_of(const struct record *record)
{
    return record->places + record->size;
}

static void write_place(uint8_t *place, uint64_t directory, const char *name, size_t length)
{
    memcpy(place, &directory, sizeof directory);
    place[sizeof directory] = (uint8_t)length;
    memcpy(place + PLACE_HEAD, name, length);
}

/* Whether the one name that *record* has is this. */
static bool lies_only_there(const struct record *record, uint64_t directory, const char *name, size_t length)
{
    return record->size == PLACE_HEAD + length && length_at(record->places) == length &&
           directory_at(record->places) == directory && memcmp(record->places + PLACE_HEAD, name, length) == 0;
}

static bool lies_in(const struct record *record, uint64_t directory)
{
    for (const uint8_t *place = record->places; place < end_of(record); place = next_place(place))
        if (directory_at(place) == directory)
            return true;
    return false;
}

static PyObject *listed(const struct record *record)
{
    PyObject *places = PyList_New(0);
    for (const uint8_t *place = record->places; places != NULL && place < end_of(record); place = next_place(place)) {
        PyObject *one = Py_BuildValue("Ky#", (unsigned long long)directory_at(place), (const char *)place + PLACE_HEAD,
                                      (Py_ssize_t)length_at(place));
        if (one == NULL || PyList_Append(places, one) != 0)
            Py_CLEAR(places);
        Py_XDECREF(one);
    }
    return places;
}

/* --- directories ------------------------------------------------------------------------------------------------------ */

static int by_number(const void *one, const void *other)
{
    const uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

/* Leave each number that is there in *leaves*, those of *directory*, once. */
static void tidy(const Packed *self, struct leaves *leaves, uint64_t directory)
{
    uint32_t kept = 0;
    qsort(leaves->numbers, leaves->used, sizeof *leaves->numbers, by_number);
    for (uint32_t at = 0; at < leaves->used; at++) {
        const uint64_t ino = leaves->numbers[at];
        if (at + 1 < leaves->used && leaves->numbers[at + 1] == ino)
            continue;                    /* it comes once more */
        const struct record *record = table_find(&self->records, ino);
        if (record != NULL && lies_in(record, directory))
            leaves->numbers[kept++] = ino;
    }
    leaves->used = kept;
    uint64_t *fewer = realloc(leaves->numbers, (kept + 1) * sizeof *fewer);
    if (fewer != NULL) {
        leaves->numbers = fewer;
        leaves->size = kept + 1;
    }
}

static struct leaves *leaves_of(Packed *self, uint64_t directory)
{
    struct leaves *leaves = table_find(&self->directories, directory);
    if (leaves == NULL && (leaves = calloc(1, sizeof *leaves)) != NULL && !table_put(&self->directories, directory, leaves)) {
        free(leaves);
        leaves = NULL;
    }
    return leaves;
}

/* *ino* has a name in *directory*; its record is there. */
static bool joins(Packed *self, uint64_t directory, uint64_t ino)
{
    struct leaves *leaves = leaves_of(self, directory);
    if (leaves == NULL)
        return false;
    if (leaves->used == leaves->size) {
        const uint32_t size = leaves->size + leaves->size / 2 + 4;
        uint64_t *more = realloc(leaves->numbers, size * sizeof *more);
        if (more == NULL)
            return false;
        leaves->numbers = more;
        leaves->size = size;
    }
    leaves->count++;
    leaves->numbers[leaves->used++] = ino;
    if (leaves->used > 2 * (uint64_t)leaves->count + STALE)
        tidy(self, leaves, directory);
    return true;
}

/* A name in *directory* is packed no more; return whether it was the last. */
static bool leaves_one(Packed *self, uint64_t directory)
{
    struct leaves *leaves = table_find(&self->directories, directory);
    if (leaves == NULL || --leaves->count != 0)
        return false;
    table_take(&self->directories, directory);
    free(leaves->numbers);
    free(leaves);
    return true;
}

/* --- records ---------------------------------------------------------------------------------------------------------- */

/* Take out *ino*, which is packed; return the directories in which nothing is packed any more for that. */
static PyObject *removed(Packed *self, uint64_t ino)
{
    struct record *record = table_find(&self->records, ino);
    PyObject *emptied = PyList_New(0);
    table_take(&self->records, ino);
    for (const uint8_t *place = record->places; place < end_of(record); place = next_place(place))
        if (leaves_one(self, directory_at(place)) && emptied != NULL) {
            PyObject *number = PyLong_FromUnsignedLongLong(directory_at(place));
            if (number == NULL || PyList_Append(emptied, number) != 0)
                Py_CLEAR(emptied);
            Py_XDECREF(number);
        }
    PyMem_Free(record);
    return emptied;
}

/* Take in *record* of *ino*, which is not packed; it is the table's from now on, and freed when there is no memory. */
static bool add(Packed *self, uint64_t ino, struct record *record)
{
    bool whole = table_put(&self->records, ino, record);
    if (!whole)
        PyMem_Free(record);
    for (const uint8_t *place = record->places; whole && place < end_of(record); place = next_place(place))
        whole = joins(self, directory_at(place), ino);
    if (!whole)
        PyErr_NoMemory();
    return whole;
}

static struct record *made(uint32_t lookups, uint32_t generation, size_t size)
{
    struct record *record = PyMem_Malloc(sizeof *record + size);
    if (record == NULL)
        PyErr_NoMemory();
    else
        *record = (struct record){lookups, generation, (uint32_t)size};
    return record;
}

static PyObject *node(PyObject *object, uint64_t ino)
{
    PyObject *number = PyLong_FromUnsignedLongLong(ino);
    PyObject *found = number == NULL ? NULL : PyDict_GetItemWithError(((Packed *)object)->nodes, number);
    Py_XDECREF(number);
    return found;
}

/* Whether *ino* is a node, or *name* in a directory with these *children* leads to one; -1 with an exception. */
static int is_known(const Packed *self, uint64_t ino, PyObject *children, PyObject *name)
{
    PyObject *number = PyLong_FromUnsignedLongLong(ino);
    if (number == NULL)
        return -1;
    const int known = PyDict_Contains(self->nodes, number);
    Py_DECREF(number);
    return known != 0 ? known : PyDict_Contains(children, name);
}

static int64_t refer(PyObject *object, uint64_t ino, uint64_t directory, PyObject *children, PyObject *name)
{
    Packed *self = (Packed *)object;
    char *text;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(name, &text, &length) != 0)
        return PACKED_FAILED;
    struct record *record = table_find(&self->records, ino);
    if (record != NULL) {                /* by another name it may be another file, to which the number was given */
        if (!lies_only_there(record, directory, text, (size_t)length) || record->lookups == UINT32_MAX)
            return PACKED_NEEDS_NODE;
        record->lookups++;
        return record->generation;
    }
    const int known = is_known(self, ino, children, name);
    if (known != 0 || length > UINT8_MAX)
        return known < 0 ? PACKED_FAILED : PACKED_NEEDS_NODE;
    if ((record = made(1, 0, PLACE_HEAD + (size_t)length)) == NULL)
        return PACKED_FAILED;
    write_place(record->places, directory, text, (size_t)length);
    return add(self, ino, record) ? 0 : PACKED_FAILED;
}

/* --- what Python sees --------------------------------------------------------------------------------------------------- */

static PyObject *Packed_refer(Packed *self, PyObject *arguments)
{
    unsigned long long ino, directory;
    PyObject *children, *name;
    if (!PyArg_ParseTuple(arguments, "KKOO", &ino, &directory, &children, &name))
        return NULL;
    const int64_t generation = refer((PyObject *)self, ino, directory, children, name);
    if (generation >= 0)
        return PyLong_FromLongLong(generation);
    return generation == PACKED_FAILED ? NULL : Py_NewRef(Py_None);
}

static PyObject *Packed_add(Packed *self, PyObject *arguments)
{
    unsigned long long ino;
    unsigned int lookups, generation;
    PyObject *places;
    if (!PyArg_ParseTuple(arguments, "KIIO", &ino, &lookups, &generation, &places))
        return NULL;
    const Py_ssize_t count = PyList_Size(places);
    unsigned long long directory;
    const char *name;
    Py_ssize_t length;
    size_t size = 0;
    for (Py_ssize_t at = 0; at < count; at++) {
        if (!PyArg_ParseTuple(PyList_GetItem(places, at), "Ky#", &directory, &name, &length))
            return NULL;
        if (length > UINT8_MAX)
            return PyErr_SetString(PyExc_ValueError, "a name has at most 255 bytes"), NULL;
        size += PLACE_HEAD + (size_t)length;
    }
    struct record *record = count < 0 ? NULL : made(lookups, generation, size);
    if (record == NULL)
        return NULL;
    uint8_t *place = record->places;
    for (Py_ssize_t at = 0; at < count; at++) {
        PyArg_ParseTuple(PyList_GetItem(places, at), "Ky#", &directory, &name, &length);
        write_place(place, directory, name, (size_t)length);
        place += PLACE_HEAD + length;
    }
    return add(self, ino, record) ? Py_NewRef(Py_None) : NULL;
}

static PyObject *Packed_get(Packed *self, PyObject *number)
{
    const uint64_t ino = PyLong_AsUnsignedLongLong(number);
    const struct record *record = PyErr_Occurred() ? NULL : table_find(&self->records, ino);
    if (record == NULL)
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    return Py_BuildValue("IIN", record->lookups, record->generation, listed(record));
}

static PyObject *Packed_forget(Packed *self, PyObject *arguments)
{
    unsigned long long ino, lookups;
    if (!PyArg_ParseTuple(arguments, "KK", &ino, &lookups))
        return NULL;
    struct record *record = table_find(&self->records, ino);
    if (record == NULL)
        return Py_NewRef(Py_None);
    if (record->lookups <= lookups)
        return removed(self, ino);
    record->lookups -= (uint32_t)lookups;
    return PyList_New(0);
}

static PyObject *Packed_remove(Packed *self, PyObject *number)
{
    const uint64_t ino = PyLong_AsUnsignedLongLong(number);
    if (PyErr_Occurred())
        return NULL;
    if (table_find(&self->records, ino) == NULL)
        return PyErr_SetObject(PyExc_KeyError, number), NULL;
    return removed(self, ino);
}

static PyObject *Packed_is_in(Packed *self, PyObject *number)
{
    const uint64_t directory = PyLong_AsUnsignedLongLong(number);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(table_find(&self->directories, directory) != NULL);
}

static PyObject *Packed_files_in(Packed *self, PyObject *number)
{
    const uint64_t directory = PyLong_AsUnsignedLongLong(number);
    struct leaves *leaves = PyErr_Occurred() ? NULL : table_find(&self->directories, directory);
    if (leaves == NULL)
        return PyErr_Occurred() ? NULL : PyList_New(0);
    tidy(self, leaves, directory);
    PyObject *files = PyList_New(leaves->used);
    for (uint32_t at = 0; files != NULL && at < leaves->used; at++) {
        PyObject *ino = PyLong_FromUnsignedLongLong(leaves->numbers[at]);
        if (ino == NULL || PyList_SetItem(files, at, ino) != 0)
            Py_CLEAR(files);
    }
    return files;
}

static PyObject *Packed_numbers(Packed *self, PyObject *nothing)
{
    PyObject *numbers = PyList_New(0);
    (void)nothing;
    for (size_t at = 0; numbers != NULL && self->records.slots != NULL && at < (size_t)1 << self->records.bits; at++)
        if (self->records.slots[at].value != NULL) {
            PyObject *ino = PyLong_FromUnsignedLongLong(self->records.slots[at].key);
            if (ino == NULL || PyList_Append(numbers, ino) != 0)
                Py_CLEAR(numbers);
            Py_XDECREF(ino);
        }
    return numbers;
}

static Py_ssize_t Packed_length(PyObject *self)
{
    return (Py_ssize_t)((Packed *)self)->records.used;
}

static int Packed_init(Packed *self, PyObject *arguments, PyObject *keywords)
{
    PyObject *nodes;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "O", &nodes))
        return -1;
    Py_XDECREF(self->nodes);
    self->nodes = Py_NewRef(nodes);
    return 0;
}

static void Packed_dealloc(Packed *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    for (size_t at = 0; self->records.slots != NULL && at < (size_t)1 << self->records.bits; at++)
        PyMem_Free(self->records.slots[at].value);
    for (size_t at = 0; self->directories.slots != NULL && at < (size_t)1 << self->directories.bits; at++) {
        struct leaves *leaves = self->directories.slots[at].value;
        if (leaves != NULL)
            free(leaves->numbers);
        free(leaves);
    }
    free(self->records.slots);
    free(self->directories.slots);
    Py_XDECREF(self->nodes);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"refer", (PyCFunction)Packed_refer, METH_VARARGS, NULL},
    {"add", (PyCFunction)Packed_add, METH_VARARGS, NULL},
    {"get", (PyCFunction)Packed_get, METH_O, NULL},
    {"forget", (PyCFunction)Packed_forget, METH_VARARGS, NULL},
    {"remove", (PyCFunction)Packed_remove, METH_O, NULL},
    {"is_in", (PyCFunction)Packed_is_in, METH_O, NULL},
    {"files_in", (PyCFunction)Packed_files_in, METH_O, NULL},
    {"numbers", (PyCFunction)Packed_numbers, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "All packed files of one mount, by inode number: see _packed.pyi."},
    {Py_tp_init, Packed_init},
    {Py_tp_dealloc, Packed_dealloc},
    {Py_tp_methods, methods},
    {Py_sq_length, Packed_length},
    {0, NULL},
};

static PyType_Spec spec = {"repofs.namespace._packed.Packed", sizeof(Packed), 0, Py_TPFLAGS_DEFAULT, slots};

static const struct packed_functions functions = {refer, node};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_packed", "Files to which nothing but the kernel refers.", -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__packed(void)
{
    PyObject *module = PyModule_Create(&definition);
    PyObject *type = PyType_FromSpec(&spec);
    PyObject *capsule = PyCapsule_New((void *)&functions, PACKED_CAPSULE, NULL);
    PyObject *most = PyLong_FromUnsignedLongLong(UINT32_MAX);
    if (module == NULL || PyModule_AddObjectRef(module, "Packed", type) != 0 ||
        PyModule_AddObjectRef(module, "capsule", capsule) != 0 || PyModule_AddObjectRef(module, "MOST", most) != 0)
        Py_CLEAR(module);
    Py_XDECREF(type);
    Py_XDECREF(capsule);
    Py_XDECREF(most);
    return module;
}
