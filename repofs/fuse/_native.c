/* What the kernel offers and pyfuse3 has no word for, and libfuse, as to passthrough, only from 3.17 on:
 *
 *   passthrough   the kernel reads an open file from the backing file itself
 *   killpriv      it does not ask at each write whether the file has capabilities that are to be taken from it. Here no
 *                 file has any, nor a set-user-ID bit
 *   noflush       it sends no FLUSH when a descriptor is closed by which nothing can be written
 *   listings      it keeps the names in a directory
 *   mapping       it lets a file be mapped that is read past its pages, because somebody writes it so
 *
 * Besides, some requests are answered here, without a word of Python: files that were opened before are opened again
 * (_reopened.c), directories are listed (_listings.c), and names are looked up (_lookups.c).
 *
 * This module stands between pyfuse3 and libfuse: it is loaded with RTLD_GLOBAL before pyfuse3, so that the dynamic
 * linker binds two public functions of libfuse, as pyfuse3 calls them, to those below, which call libfuse's own.
 *
 *   fuse_session_mount   then has libfuse read and write the device by our functions (fuse_session_custom_io). They see
 *                        the INIT request, in which the kernel says what it offers, and complete the reply: by killpriv
 *                        (FUSE_HANDLE_KILLPRIV_V2), by mapping (FUSE_DIRECT_IO_ALLOW_MMAP) and, if somebody has called
 *                        wish(), by passthrough.
 *   fuse_reply_open      makes the reply itself for a handle that bears a backing number, see FH_BACKING; in others it
 *                        sets noflush, and of directories what FH_CACHE and FH_KEEP say.
 *
 * All else goes through unchanged. Numbers are those of linux/fuse.h of Linux 6.9; the headers of the machine may be
 * older than its kernel.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#define FUSE_USE_VERSION 314
#include <Python.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include "_listings.h"
#include "_lookups.h"
#include "_reopened.h"

#define INIT_KILLPRIV (1u << 28)         /* of flags: who writes, truncates or chowns a file takes what it grants, here */
#define INIT_EXT (1u << 30)              /* of flags: there are flags2 */
#define INIT2_MAPPING (1u << 4)          /* of flags2: bit 36 in all */
#define INIT2_PASSTHROUGH (1u << 5)
#define OPEN_NOFLUSH (1u << 5)           /* close() of it sends no FLUSH: nothing was written */
#define OPEN_PASSTHROUGH (1u << 7)
#define STACK_DEPTH 1                    /* the backing store is no stacked file system itself */

/* A handle number below 2^63 is the daemon's own in the lower half. The kernel is told of that only. In the upper one it
 * has, of a file, the number that the kernel gave the backing file, 0 for none; of a directory two bits: the kernel may
 * keep its listing, and may use the one that it has kept. */
#define FH_OWN(fh) ((fh) & 0xFFFFFFFFu)
#define FH_CACHE(fh) ((fh) >> 63 ? 0 : (fh) >> 62 & 1)
#define FH_KEEP(fh) ((fh) >> 61 & 1)
#define FH_BACKING(fh) ((fh) >> 61 ? 0 : (int32_t)((fh) >> 32))

struct open_reply {                      /* struct fuse_open_out, whose last field was padding before Linux 6.9 */
    uint64_t fh;
    uint32_t open_flags;
    int32_t backing_id;
};

enum outcome { UNASKED, ASKED, REFUSED, AGREED };

static enum outcome outcome = UNASKED;   /* of passthrough */
static uint64_t init_request;            /* the number of the INIT whose reply is to be completed, 0 for none */
static uint32_t offered, offered2;       /* by that, of INIT_KILLPRIV; of INIT2_MAPPING and INIT2_PASSTHROUGH */
static int left;                         /* requests that may be answered here before others have their next turn */

static bool answered(int fd, void *request, size_t length)
{
    return reopened_answer(fd, request, length) || lookups_answer(fd, request, length) ||
           listings_answer(fd, request, length);
}

static ssize_t read_request(int fd, void *buffer, size_t size, void *userdata)
{
    ssize_t length = read(fd, buffer, size);
    while (length > 0 && answered(fd, buffer, (size_t)length)) {
        if (--left <= 0 || !reopened_wait(fd)) {
            errno = EINTR;               /* pyfuse3 comes again */
            return -1;
        }
        length = read(fd, buffer, size);
    }
    const struct fuse_in_header *head = buffer;
    const struct fuse_init_in *init = (const void *)(head + 1);
    (void)userdata;
    if (length < (ssize_t)(sizeof *head + offsetof(struct fuse_init_in, flags) + sizeof init->flags) ||
        head->opcode != FUSE_INIT)
        return length;
    init_request = head->unique;
    offered = init->flags & INIT_KILLPRIV;
    offered2 = 0;
    if (length >= (ssize_t)(sizeof *head + offsetof(struct fuse_init_in, flags2) + sizeof init->flags2) &&
        init->flags & INIT_EXT)
        offered2 = init->flags2 & (INIT2_MAPPING | INIT2_PASSTHROUGH);
    if (outcome == ASKED && !(offered2 & INIT2_PASSTHROUGH))
        outcome = REFUSED;
    return length;
}

/* Agree to what the kernel has offered, in a reply of *size* bytes. */
static void complete(struct fuse_init_out *init, size_t size)
{
    const size_t depth = offsetof(struct fuse_init_out, flags2) + sizeof init->flags2;
    const uint32_t stack_depth = STACK_DEPTH;
    if (size >= offsetof(struct fuse_init_out, flags) + sizeof init->flags)
        init->flags |= offered;
    if (offered2 == 0 || size < depth + sizeof stack_depth)
        return;
    init->flags |= INIT_EXT;
    init->flags2 |= offered2 & INIT2_MAPPING;
    if (outcome == ASKED) {
        init->flags2 |= INIT2_PASSTHROUGH;
        memcpy((char *)init + depth, &stack_depth, sizeof stack_depth);
        outcome = AGREED;
    }
}

static ssize_t write_reply(int fd, struct iovec *iov, int count, void *userdata)
{
    const struct fuse_out_header *head = iov[0].iov_base;
    (void)userdata;
    if (init_request && head->unique == init_request) {
        init_request = 0;
        if (count == 2)
            complete(iov[1].iov_base, iov[1].iov_len);
        if (outcome == ASKED)            /* libfuse has answered by an error, or in the short form of old */
            outcome = REFUSED;
    }
    ssize_t length = writev(fd, iov, count);
    if (length < 0 && errno == ENOTDIR && head->unique == 0)
        errno = ENOENT;                  /* to forget a name in a directory that is gone, whose number a file has: libfuse
                                            would complain of it in the log */
    return length;
}

int fuse_session_mount(struct fuse_session *session, const char *mountpoint)
{
    static const struct fuse_custom_io io = {.writev = write_reply, .read = read_request};
    int (*mount)(struct fuse_session *, const char *) = dlsym(RTLD_NEXT, "fuse_session_mount");
    int result = mount(session, mountpoint);
    if (result == 0 && fuse_session_custom_io(session, &io, fuse_session_fd(session)) != 0 && outcome == ASKED)
        outcome = UNASKED;
    return result;
}

int fuse_reply_open(fuse_req_t request, const struct fuse_file_info *info)
{
    static int (*reply)(fuse_req_t, const struct fuse_file_info *);
    if (FH_BACKING(info->fh) != 0) {
        const struct open_reply open = {
            FH_OWN(info->fh), OPEN_PASSTHROUGH | OPEN_NOFLUSH, FH_BACKING(info->fh)};
        return fuse_reply_buf(request, (const char *)&open, sizeof open);
    }
    if (reply == NULL)
        reply = dlsym(RTLD_NEXT, "fuse_reply_open");
    struct fuse_file_info told = *info;
    told.noflush |= (info->flags & O_ACCMODE) == O_RDONLY;
    if (FH_CACHE(info->fh)) {
        told.fh = FH_OWN(info->fh);
        told.cache_readdir = 1;
        told.keep_cache = FH_KEEP(info->fh);
    }
    return reply(request, &told);
}

static PyObject *wish(PyObject *module, PyObject *nothing)
{
    (void)module, (void)nothing;
    outcome = ASKED;
    Py_RETURN_NONE;
}

static PyObject *turn(PyObject *module, PyObject *burst)
{
    (void)module;
    left = (int)PyLong_AsLong(burst);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *agreed(PyObject *module, PyObject *nothing)
{
    (void)module, (void)nothing;
    if (outcome == AGREED || outcome == REFUSED)
        return PyBool_FromLong(outcome == AGREED);
    Py_RETURN_NONE;
}

static PyObject *forget_all(PyObject *module, PyObject *nothing)
{
    (void)module, (void)nothing;
    reopened_forget_all();
    lookups_forget_all();
    listings_forget_all();
    Py_RETURN_NONE;
}

static PyObject *forget_names(PyObject *module, PyObject *nothing)
{
    (void)module, (void)nothing;
    lookups_forget_all();
    listings_forget_all();
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"wish", wish, METH_NOARGS, "Ask the kernel for passthrough at the next mount of this process."},
    {"turn", turn, METH_O, "turn(burst): others have their turn; after it so many requests may be answered here in a row."},
    {"remember", reopened_remember, METH_VARARGS,
     "remember(root, path, uid, device, ino, ctime_ns): the user may open the file again, path below directory root."},
    {"forget_all", forget_all, METH_NOARGS, "Remember nothing: each file, and each name, is asked about anew."},
    {"list", listings_begin, METH_VARARGS,
     "list(fd, names, table, directory, shown, seconds): answer the kernel's next questions for names in a directory."},
    {"know", lookups_know, METH_VARARGS,
     "know(fd, table, directory, shown, own, seconds): look names in a directory up, and tell how it is shown itself."},
    {"knows", lookups_knows, METH_O, "knows(ino): whether that is done for this directory."},
    {"forget_names", forget_names, METH_NOARGS, "Answer no question for names more."},
    {"descriptor", reopened_descriptor, METH_O,
     "descriptor(ino): a new descriptor of what users have open here, None when nobody has."},
    {"agreed", agreed, METH_NOARGS, "Whether the kernel has agreed; None while no INIT has come through here."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "What the kernel offers and pyfuse3 does not.", -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModule_Create(&definition);
}
