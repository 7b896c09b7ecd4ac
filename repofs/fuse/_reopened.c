/* Files that were opened before, opened again.
 *
 * Who may read an original, and has opened it, opens it again without Python being asked: `remember` is told of an open
 * that was found right, and the next one of that inode by that user is answered here, as long as the file is the same
 * to the nanosecond of its ctime. Whatever changes in its marks, its rights, its names or its bytes changes that. What
 * decides besides, and is not written on the file (who the people are, which arrays are registered), changes seldom:
 * then Python has all forgotten.
 *
 * Such a handle is a descriptor with REOPENED set, for the kernel. Python learns of it when it is read or synced by, and then
 * sees the descriptor alone; of its end it hears nothing. It is opened to read only, and needs no FLUSH.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include "_reopened.h"
#include "_reply.h"
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define REOPENED (1ull << 62)
#define SETS_BITS 16                     /* the highest of a product are those that all of its factors have a part in */
#define SETS (1u << SETS_BITS)
#define WAYS 4                           /* files that share a set; the one remembered first gives way */
#define NO_TIME_NS 100000                /* that a processor is kept for the next request: who opens many files asks sooner,
                                            and to go to sleep and to wake takes as long */
#define OPEN_KEEP_CACHE (1u << 1)
#define OPEN_NOFLUSH (1u << 5)           /* of Linux 5.18; others send a FLUSH, which is answered */

struct known {
    ino_t ino;                           /* 0: none */
    dev_t device;
    struct timespec changed;
    uid_t uid;
    char *path;                          /* below root */
};

static struct known (*sets)[WAYS];       /* SETS of them, NULL before the first */
static size_t remembered;                /* since all was forgotten: 0 when there is nothing */
static int root = -1;
static uint64_t *lent;                   /* by descriptor: the inode that is open here, 0 for none */
static size_t lent_size;

static struct known *set_of(uint64_t ino, uint32_t uid)
{
    const uint64_t mixed = (ino * 0x9E3779B97F4A7C15ull) ^ (uid * 0xC2B2AE3D27D4EB4Full);
    return sets[mixed >> (64 - SETS_BITS)];
}

static struct known *find(uint64_t ino, uint32_t uid)
{
    struct known *set = set_of(ino, uid);
    for (int way = 0; way < WAYS; way++)
        if (set[way].ino == ino && set[way].uid == uid)
            return &set[way];
    return NULL;
}

static void forget(struct known *known)
{
    free(known->path);
    memset(known, 0, sizeof *known);
}

static bool is_same(const struct known *known, const struct stat *status)
{
    return status->st_ino == known->ino && status->st_dev == known->device &&
           status->st_ctim.tv_sec == known->changed.tv_sec && status->st_ctim.tv_nsec == known->changed.tv_nsec;
}

/* Return a descriptor of the file, -1 when it is another by now or cannot be had. */
static int opened(const struct known *known)
{
    const struct open_how how = {        /* O_NONBLOCK: nothing waits here, as for the end of a lease */
        .flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    const int fd = (int)syscall(SYS_openat2, root, known->path, &how, sizeof how);
    struct stat status;
    if (fd >= 0 && (fstat(fd, &status) != 0 || !is_same(known, &status))) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool lend(int fd, uint64_t ino)
{
    if ((size_t)fd >= lent_size) {
        const size_t size = (size_t)fd * 2 + 64;
        uint64_t *more = realloc(lent, size * sizeof *more);
        if (more == NULL)
            return false;
        memset(more + lent_size, 0, (size - lent_size) * sizeof *more);
        lent = more;
        lent_size = size;
    }
    lent[fd] = ino;
    return true;
}

static void take_back(int fd)
{
    lent[fd] = 0;
    close(fd);
}

static bool answer_open(int device, const struct fuse_in_header *head)
{
    const struct fuse_open_in *asked = (const void *)(head + 1);
    if (sets == NULL || asked->flags & (O_ACCMODE | O_TRUNC | O_DIRECT))
        return false;
    struct known *known = find(head->nodeid, head->uid);
    if (known == NULL)
        return false;
    const int fd = opened(known);
    if (fd < 0) {
        forget(known);
        return false;
    }
    if (!lend(fd, known->ino)) {
        close(fd);
        return false;
    }
    const struct fuse_open_out told = {.fh = REOPENED | (uint64_t)fd, .open_flags = OPEN_KEEP_CACHE | OPEN_NOFLUSH};
    if (!reply(device, head->unique, &told, sizeof told))
        take_back(fd);                   /* who asked has gone */
    return true;
}

/* Whether the request was one to be answered here, and was. One that Python answers gets to see its own number. */
bool reopened_answer(int device, void *request, size_t length)
{
    const struct fuse_in_header *head = request;
    uint64_t *fh = (void *)(head + 1);   /* where each of those below has it */
    if (length < sizeof *head + sizeof *fh)
        return false;
    switch (head->opcode) {
    case FUSE_OPEN:
        return answer_open(device, head);
    case FUSE_READ:
    case FUSE_FSYNC:                     /* of the file, its names and what leads to it, whoever has changed them */
        if (*fh >> 62 == REOPENED >> 62)
            *fh &= ~REOPENED;
        return false;
    case FUSE_RELEASE:
        if (*fh >> 62 != REOPENED >> 62)
            return false;
        take_back((int)(*fh & ~REOPENED));
        reply(device, head->unique, NULL, 0);
        return true;
    case FUSE_FLUSH:
        return *fh >> 62 == REOPENED >> 62 && (reply(device, head->unique, NULL, 0), true);
    default:
        return false;
    }
}

static int64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Whether another request comes in no time. Who has something to do on this processor does it meanwhile. */
bool reopened_wait(int device)
{
    struct pollfd polled = {.fd = device, .events = POLLIN};
    int ready;
    PyThreadState *thread = PyEval_SaveThread();
    const int64_t begin = nanoseconds();
    while ((ready = poll(&polled, 1, 0)) == 0 && nanoseconds() - begin < NO_TIME_NS)
        sched_yield();
    PyEval_RestoreThread(thread);
    return ready > 0 && polled.revents & POLLIN;
}

PyObject *reopened_remember(PyObject *module, PyObject *arguments)
{
    const char *path;
    int below;
    unsigned int uid;
    unsigned long long device, ino;
    long long changed;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "iyIKKL", &below, &path, &uid, &device, &ino, &changed))
        return NULL;
    if (sets == NULL && (sets = calloc(SETS, sizeof *sets)) == NULL)
        return PyErr_NoMemory();
    char *copy = strdup(path);
    if (copy == NULL)
        return PyErr_NoMemory();
    root = below;
    struct known *known = find(ino, uid);
    if (known == NULL) {
        known = set_of(ino, uid);
        free(known[WAYS - 1].path);
        memmove(known + 1, known, (WAYS - 1) * sizeof *known);
    } else
        free(known->path);
    remembered++;
    *known = (struct known){ino, device, {changed / 1000000000, changed % 1000000000}, uid, copy};
    Py_RETURN_NONE;
}

void reopened_forget_all(void)
{
    for (size_t set = 0; remembered != 0 && set < SETS; set++)
        for (int way = 0; way < WAYS; way++)
            if (sets[set][way].ino != 0)
                forget(&sets[set][way]);
    remembered = 0;
}

PyObject *reopened_descriptor(PyObject *module, PyObject *ino)
{
    const unsigned long long wanted = PyLong_AsUnsignedLongLong(ino);
    (void)module;
    if (PyErr_Occurred())
        return NULL;
    for (size_t fd = 0; fd < lent_size; fd++)
        if (lent[fd] == wanted && wanted != 0) {
            const int copy = fcntl((int)fd, F_DUPFD_CLOEXEC, 0);
            return copy < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(copy);
        }
    Py_RETURN_NONE;
}
