/* Names looked up, and directories asked about, without a word of Python.
 *
 * Who makes a file in a directory asks for its name first, which is not there, and then for the directory, which has
 * changed. Who opens files by path asks for name after name. Python says of a directory that is asked for names by what
 * rule it is shown, and a file in it; from then on LOOKUP is answered here, of what is not there and of regular files
 * that need no node (`Packed`), and GETATTR of the directory itself. All else goes to Python.
 *
 * Who may change these rules, or hides a name in any directory, has all forgotten before another request is read.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include "_lookups.h"
#include "_plain.h"
#include "_reply.h"
#include "../namespace/_packed.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define KNOWN_BITS 8
#define KNOWN (1u << KNOWN_BITS)         /* directories; each is one more open descriptor */

struct directory {
    struct plain plain;                  /* the files in it; without a directory: nothing is known here */
    struct rules own;                    /* for itself */
    int fd;
};

static struct directory known[KNOWN];    /* by number: a directory takes the place of another */
static size_t known_count;

static struct directory *place_of(uint64_t ino)
{
    return &known[ino * 0x9E3779B97F4A7C15ull >> (64 - KNOWN_BITS)];
}

static void forget(struct directory *one)
{
    if (one->plain.directory == NULL)
        return;
    plain_end(&one->plain);
    Py_CLEAR(one->own.ask);
    close(one->fd);
    known_count--;
}

/* Whether *one* is still what Python knows by that number, and has a name. */
static bool is_there(const struct directory *one)
{
    const struct plain *plain = &one->plain;
    if (packed_functions()->node(plain->packed, plain->ino) != plain->directory)
        return false;
    PyObject *names = PyObject_GetAttrString(plain->directory, "names");
    const bool named = names != NULL && PyList_Size(names) > 0;
    Py_XDECREF(names);
    return named;
}

static struct directory *find(uint64_t ino)
{
    struct directory *one = place_of(ino);
    if (one->plain.directory == NULL || one->plain.ino != ino)
        return NULL;
    if (is_there(one))
        return one;
    forget(one);
    return NULL;
}

/* Return 0, or the errno. Others may run meanwhile. */
static int look(int fd, const char *name, struct stat *status)
{
    PyThreadState *thread = PyEval_SaveThread();
    const int error = fstatat(fd, name, status, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
    PyEval_RestoreThread(thread);
    return error;
}

static bool answer_lookup(int device, const struct fuse_in_header *head, const char *text, size_t length)
{
    struct directory *one = find(head->nodeid);
    struct stat status;
    if (one == NULL)
        return false;
    const int error = look(one->fd, text, &status);
    if (error == ENOENT) {
        reply_error(device, head->unique, ENOENT);
        return true;
    }
    if (error != 0 || !plain_is_one(&one->plain, &status))
        return false;
    struct fuse_entry_out entry;
    PyObject *name = PyBytes_FromStringAndSize(text, (Py_ssize_t)length);
    const bool found = name != NULL && plain_refer(&one->plain, &status, name, &entry);
    Py_XDECREF(name);
    if (found && !reply(device, head->unique, &entry, sizeof entry))
        plain_take_back(&one->plain, &entry);
    return found;
}

static bool answer_getattr(int device, const struct fuse_in_header *head, const struct fuse_getattr_in *asked)
{
    struct directory *one = asked->getattr_flags & FUSE_GETATTR_FH ? NULL : find(head->nodeid);
    struct stat status;
    struct ownership shown;
    if (one == NULL || fstat(one->fd, &status) != 0 || !rules_find(&one->own, &status, &shown))
        return false;
    struct fuse_attr_out told = {.attr_valid = one->plain.seconds, .attr_valid_nsec = one->plain.nanoseconds};
    write_attributes(&told.attr, &status, &shown);
    reply(device, head->unique, &told, sizeof told);
    return true;
}

/* The kernel refers to *ino* less, mostly because it is gone: its descriptor would keep it on the disk. */
static void forgotten(uint64_t ino)
{
    struct directory *one = place_of(ino);
    if (one->plain.ino == ino)
        forget(one);
}

static void forgotten_together(const struct fuse_batch_forget_in *batch, size_t length)
{
    const struct fuse_forget_one *each = (const void *)(batch + 1);
    for (size_t at = 0; at < batch->count && (at + 1) * sizeof *each <= length - sizeof *batch; at++)
        forgotten(each[at].nodeid);
}

/* Whether the request was one to be answered here, and was. */
bool lookups_answer(int device, const void *request, size_t length)
{
    const struct fuse_in_header *head = request;
    const void *asked = head + 1;
    const size_t rest = length - sizeof *head;
    bool answered = false;
    if (known_count == 0 || length <= sizeof *head)
        return false;
    if (head->opcode == FUSE_LOOKUP && memchr(asked, '\0', rest) != NULL)
        answered = answer_lookup(device, head, asked, strlen(asked));
    else if (head->opcode == FUSE_GETATTR && rest >= sizeof(struct fuse_getattr_in))
        answered = answer_getattr(device, head, asked);
    else if (head->opcode == FUSE_FORGET)
        forgotten(head->nodeid);
    else if (head->opcode == FUSE_BATCH_FORGET && rest >= sizeof(struct fuse_batch_forget_in))
        forgotten_together(asked, rest);
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(NULL);
    return answered;
}

/* --- what Python says ------------------------------------------------------------------------------------------------------- */

PyObject *lookups_know(PyObject *module, PyObject *arguments)
{
    int fd;
    double seconds;
    PyObject *table, *directory, *shown, *own;
    struct directory one;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "iOOOOd", &fd, &table, &directory, &shown, &own, &seconds) ||
        !plain_begin(&one.plain, table, directory, shown, seconds))
        return NULL;
    one.own = (struct rules){.ask = Py_NewRef(own)};
    one.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (one.fd < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        plain_end(&one.plain);
        Py_CLEAR(one.own.ask);
        return NULL;
    }
    struct directory *place = place_of(one.plain.ino);
    forget(place);
    *place = one;
    known_count++;
    Py_RETURN_NONE;
}

PyObject *lookups_knows(PyObject *module, PyObject *ino)
{
    const unsigned long long number = PyLong_AsUnsignedLongLong(ino);
    (void)module;
    return PyErr_Occurred() ? NULL : PyBool_FromLong(find(number) != NULL);
}

void lookups_forget_all(void)
{
    for (size_t at = 0; known_count != 0 && at < KNOWN; at++)
        forget(&known[at]);
}
