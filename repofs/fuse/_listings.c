/* Directories listed without a word of Python.
 *
 * Python reads the names in a directory and says by what rule a file in it is shown; from then on READDIRPLUS is
 * answered here, as long as regular files come of which their status says all, and no node is needed (`Packed`). At
 * whatever else comes the answer ends; the next request begins with that, and goes to Python.
 *
 * Who may change that rule, or hides a name in any directory, has all forgotten before another request is read.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include "_listings.h"
#include "_plain.h"
#include "_reply.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ENTRY_SIZE(length) FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + (length))

struct listing {
    struct plain plain;
    PyObject *names;                     /* a list; that of number n is followed by n + 1 */
};

struct found {                           /* a name, and what lies there */
    const char *name;
    size_t length;
    int error;
    struct stat status;
};

static struct found *found;              /* room for an answer */
static size_t found_size;

static struct listing **listings;        /* by descriptor of the directory, which is its handle; NULL for none */
static size_t listings_size, listings_count;

static void end(size_t fd)
{
    struct listing *one = listings[fd];
    listings[fd] = NULL;
    listings_count--;
    plain_end(&one->plain);
    Py_XDECREF(one->names);
    free(one);
}

static struct listing *of(uint64_t fh)
{
    return fh < listings_size ? listings[fh] : NULL;
}

static void *grown(void *memory, size_t *size, size_t wanted)
{
    if (wanted <= *size)
        return memory;
    void *more = realloc(memory, wanted);
    *size = more == NULL ? 0 : wanted;
    if (more == NULL)
        free(memory);
    return more;
}

/* --- what lies there ---------------------------------------------------------------------------------------------------- */

/* Put into `found` the names from number *begin* on that have room in an answer of *size* bytes; return how many. */
static size_t name(const struct listing *listing, size_t begin, size_t size)
{
    const size_t end = (size_t)PyList_Size(listing->names);
    size_t count = 0, used = 0;
    for (size_t number = begin; number < end; number++, count++) {
        char *text;
        Py_ssize_t length;
        if (PyBytes_AsStringAndSize(PyList_GetItem(listing->names, (Py_ssize_t)number), &text, &length) != 0)
            break;
        used += ENTRY_SIZE((size_t)length);
        if (used > size)
            break;
        found[count].name = text;
        found[count].length = (size_t)length;
    }
    return count;
}

static bool is_plain(const struct listing *listing, const struct found *one)
{
    return one->error == ENOENT ||       /* removed since it was listed */
           (one->error == 0 && plain_is_one(&listing->plain, &one->status));
}

/* Look at the first *end* of `found`; return which is the first that is no regular file. Others may run meanwhile. */
static size_t look(const struct listing *listing, int fd, size_t end)
{
    size_t at = 0;
    PyThreadState *thread = PyEval_SaveThread();
    for (; at < end; at++) {
        found[at].error = fstatat(fd, found[at].name, &found[at].status, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
        if (!is_plain(listing, &found[at]))
            break;
    }
    PyEval_RestoreThread(thread);
    return at;
}

/* --- the answer ----------------------------------------------------------------------------------------------------------- */

/* Write the entry of the name of *number* to *at*, to which the kernel refers once more; false when it needs Python. */
static bool write_entry(struct listing *listing, size_t number, const struct found *found, char *at)
{
    PyObject *name = PyList_GetItem(listing->names, (Py_ssize_t)number);
    struct fuse_direntplus *entry = (void *)at;
    if (!plain_refer(&listing->plain, &found->status, name, &entry->entry_out))
        return false;
    entry->dirent = (struct fuse_dirent){
        .ino = found->status.st_ino, .off = number + 1, .namelen = (uint32_t)found->length, .type = S_IFREG >> 12};
    const size_t size = ENTRY_SIZE(found->length);
    memset(at + FUSE_NAME_OFFSET_DIRENTPLUS, 0, size - FUSE_NAME_OFFSET_DIRENTPLUS);
    memcpy(at + FUSE_NAME_OFFSET_DIRENTPLUS, found->name, found->length);
    return true;
}

/* Take back the references that an answer of *length* bytes gave, which did not arrive. */
static void take_back(struct listing *listing, const char *answer, size_t length)
{
    for (size_t at = 0; at < length;) {
        const struct fuse_direntplus *entry = (const void *)(answer + at);
        plain_take_back(&listing->plain, &entry->entry_out);
        at += ENTRY_SIZE(entry->dirent.namelen);
    }
}

/* Write to *text* the entries of `found` up to *end*, of the names from number *begin* on, and to *length* how long they
 * are; return how many names are done by that. */
static size_t write_entries(struct listing *listing, size_t begin, size_t end, char *text, size_t *length)
{
    size_t at = 0;
    for (; at < end; at++)
        if (found[at].error == 0) {
            if (!write_entry(listing, begin + at, &found[at], text + *length))
                break;
            *length += ENTRY_SIZE(found[at].length);
        }
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(listing->plain.table);
    return at;
}

static bool answer(int device, const struct fuse_in_header *head, const struct fuse_read_in *asked)
{
    static char *text;
    static size_t text_size;
    struct listing *listing = of(asked->fh);
    const uint64_t begin = asked->offset;
    if (listing == NULL || begin == 0 || begin > (uint64_t)PyList_Size(listing->names))
        return false;                    /* at 0 the names are read anew */
    found = grown(found, &found_size, (asked->size / ENTRY_SIZE(1) + 1) * sizeof *found);
    text = grown(text, &text_size, asked->size);
    if (found == NULL || text == NULL)
        return false;
    const size_t looked = look(listing, (int)asked->fh, name(listing, begin, asked->size));
    size_t length = 0;
    const uint64_t next = begin + write_entries(listing, begin, looked, text, &length);
    if (length == 0 && next < (uint64_t)PyList_Size(listing->names))
        return false;
    if (!reply(device, head->unique, text, length))
        take_back(listing, text, length);
    return true;
}

/* Whether the request was one to be answered here, and was. */
bool listings_answer(int device, const void *request, size_t length)
{
    const struct fuse_in_header *head = request;
    const struct fuse_read_in *asked = (const void *)(head + 1);
    const struct fuse_release_in *over = (const void *)(head + 1);
    if (listings_count == 0)
        return false;
    if (head->opcode == FUSE_READDIRPLUS && length >= sizeof *head + sizeof *asked)
        return answer(device, head, asked);
    if (head->opcode == FUSE_RELEASEDIR && length >= sizeof *head + sizeof *over && of(over->fh) != NULL)
        end(over->fh);
    return false;
}

/* --- what Python says ------------------------------------------------------------------------------------------------------- */

static bool make_room(size_t fd)
{
    if (fd < listings_size)
        return true;
    const size_t size = fd * 2 + 64;
    struct listing **more = realloc(listings, size * sizeof *more);
    if (more == NULL)
        return false;
    memset(more + listings_size, 0, (size - listings_size) * sizeof *more);
    listings = more;
    listings_size = size;
    return true;
}

PyObject *listings_begin(PyObject *module, PyObject *arguments)
{
    int fd;
    double seconds;
    PyObject *names, *table, *directory, *shown;
    struct listing *one = calloc(1, sizeof *one);
    (void)module;
    if (one == NULL)
        return PyErr_NoMemory();
    if (!PyArg_ParseTuple(arguments, "iOOOOd", &fd, &names, &table, &directory, &shown, &seconds) ||
        !plain_begin(&one->plain, table, directory, shown, seconds))
        return free(one), NULL;
    if (fd < 0 || !make_room((size_t)fd)) {
        plain_end(&one->plain);
        return free(one), PyErr_NoMemory();
    }
    one->names = Py_NewRef(names);
    if (listings[fd] != NULL)
        end((size_t)fd);
    listings[fd] = one;
    listings_count++;
    Py_RETURN_NONE;
}

void listings_forget_all(void)
{
    for (size_t fd = 0; listings_count != 0 && fd < listings_size; fd++)
        if (listings[fd] != NULL)
            end(fd);
}
