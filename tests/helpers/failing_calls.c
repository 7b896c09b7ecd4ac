/* Calls of libc that fail when they are told to: loaded by LD_PRELOAD into a process under test.
 *
 * The environment names a file (FAILING_CALLS) that holds `struct control`, a directory (FAILING_CALLS_BELOW), and a
 * word of the command line by which a process is meant (FAILING_CALLS_IN), with those that it forks; all others go on
 * untouched. While the control is armed, each call about a path or descriptor below the directory is counted, and the
 * one numbered `first` fails with `code`; with `for_ever` all after it, too. tests/helpers/failing_calls.py writes it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct control {
    atomic_int armed, first, code, for_ever; /* written by the test */
    atomic_int counted, failed;              /* written here */
    char name[48], path[208];                /* of the first call that failed */
};

static struct control *control;
static char below[PATH_MAX];

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("FAILING_CALLS"), *directory = getenv("FAILING_CALLS_BELOW"), *word = getenv("FAILING_CALLS_IN");
    char line[4096];
    if (!file || !directory || !word) return;
    int fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size = syscall(SYS_read, fd, line, sizeof line);
    syscall(SYS_close, fd);
    if (size <= 0 || !memmem(line, size, word, strlen(word))) return;
    fd = syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC);
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) abort();
    syscall(SYS_close, fd);
    strncpy(below, directory, sizeof below - 1);
    control = map;
}

/* Write where the descriptor leads, and return the length of that. */
static size_t place_of(int fd, char *out) {
    char link[32];
    if (fd == AT_FDCWD) strcpy(link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, out, PATH_MAX - 1);
    out[size > 0 ? size : 0] = 0;
    return size > 0 ? size : 0;
}

static void whole_path(int directory, const char *path, char *out) {
    int fd, used;
    if (!path) path = "";
    if (sscanf(path, "/proc/self/fd/%d%n", &fd, &used) == 1) directory = fd, path += used;
    else if (*path == '/') { snprintf(out, PATH_MAX, "%s", path); return; }
    size_t size = place_of(directory, out);
    if (*path) snprintf(out + size, PATH_MAX - size, "/%s", path);
}

/* Whether this call is to fail: errno is set then. */
static int fails(const char *name, int directory, const char *path) {
    struct control *c = control;
    char where[PATH_MAX];
    int before = errno;
    if (!c || !c->armed) return 0;
    whole_path(directory, path, where);
    errno = before;
    if (strncmp(where, below, strlen(below))) return 0;
    int number = ++c->counted;
    if (!c->armed || number < c->first || (number > c->first && !c->for_ever)) return 0;
    if (number == c->first) {
        snprintf(c->name, sizeof c->name, "%s", name);
        snprintf(c->path, sizeof c->path, "%s", where + strlen(below));
    }
    c->failed++;
    errno = c->code;
    return 1;
}

#define ABOUT(directory, path) directory, path
#define REAL(result, name, parameters)                                                                                 \
    static result(*real) parameters;                                                                                   \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)
#define CALL(result, name, parameters, about, wrong, ...)                                                              \
    result name parameters {                                                                                           \
        REAL(result, name, parameters);                                                                                \
        return fails(#name, about) ? wrong : real(__VA_ARGS__);                                                        \
    }
#define OPEN(name, parameters, about, ...)                                                                             \
    int name parameters {                                                                                              \
        REAL(int, name, parameters);                                                                                   \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = va_arg(more, mode_t);                                                                            \
        va_end(more);                                                                                                  \
        return fails(#name, about) ? -1 : real(__VA_ARGS__, mode);                                                     \
    }
#define BY_PATH ABOUT(AT_FDCWD, path)
#define BY_FD ABOUT(fd, NULL)
#define AT ABOUT(fd, path)

OPEN(open, (const char *path, int flags, ...), BY_PATH, path, flags)
OPEN(open64, (const char *path, int flags, ...), BY_PATH, path, flags)
OPEN(openat, (int fd, const char *path, int flags, ...), AT, fd, path, flags)
OPEN(openat64, (int fd, const char *path, int flags, ...), AT, fd, path, flags)
CALL(int, __open_2, (const char *path, int flags), BY_PATH, -1, path, flags)
CALL(int, __open64_2, (const char *path, int flags), BY_PATH, -1, path, flags)
CALL(int, __openat64_2, (int fd, const char *path, int flags), AT, -1, fd, path, flags)
CALL(DIR *, opendir, (const char *path), BY_PATH, NULL, path)
CALL(DIR *, fdopendir, (int fd), BY_FD, NULL, fd)

CALL(ssize_t, read, (int fd, void *b, size_t n), BY_FD, -1, fd, b, n)
CALL(ssize_t, readv, (int fd, const struct iovec *v, int n), BY_FD, -1, fd, v, n)
CALL(ssize_t, pread, (int fd, void *b, size_t n, off_t o), BY_FD, -1, fd, b, n, o)
CALL(ssize_t, pread64, (int fd, void *b, size_t n, off_t o), BY_FD, -1, fd, b, n, o)
CALL(ssize_t, preadv, (int fd, const struct iovec *v, int n, off_t o), BY_FD, -1, fd, v, n, o)
CALL(ssize_t, preadv64, (int fd, const struct iovec *v, int n, off_t o), BY_FD, -1, fd, v, n, o)
CALL(ssize_t, preadv64v2, (int fd, const struct iovec *v, int n, off_t o, int f), BY_FD, -1, fd, v, n, o, f)
CALL(ssize_t, write, (int fd, const void *b, size_t n), BY_FD, -1, fd, b, n)
CALL(ssize_t, writev, (int fd, const struct iovec *v, int n), BY_FD, -1, fd, v, n)
CALL(ssize_t, pwrite, (int fd, const void *b, size_t n, off_t o), BY_FD, -1, fd, b, n, o)
CALL(ssize_t, pwrite64, (int fd, const void *b, size_t n, off_t o), BY_FD, -1, fd, b, n, o)
CALL(ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t o), BY_FD, -1, fd, v, n, o)
CALL(ssize_t, pwritev64v2, (int fd, const struct iovec *v, int n, off_t o, int f), BY_FD, -1, fd, v, n, o, f)
CALL(ssize_t, copy_file_range, (int in, off64_t *i, int fd, off64_t *o, size_t n, unsigned f), BY_FD, -1, in, i, fd, o, n, f)
CALL(int, fsync, (int fd), BY_FD, -1, fd)
CALL(int, fdatasync, (int fd), BY_FD, -1, fd)
CALL(int, syncfs, (int fd), BY_FD, -1, fd)
CALL(int, truncate, (const char *path, off_t n), BY_PATH, -1, path, n)
CALL(int, truncate64, (const char *path, off_t n), BY_PATH, -1, path, n)
CALL(int, ftruncate, (int fd, off_t n), BY_FD, -1, fd, n)
CALL(int, ftruncate64, (int fd, off_t n), BY_FD, -1, fd, n)
CALL(int, fallocate, (int fd, int m, off_t o, off_t n), BY_FD, -1, fd, m, o, n)
CALL(int, fallocate64, (int fd, int m, off_t o, off_t n), BY_FD, -1, fd, m, o, n)
CALL(int, posix_fallocate, (int fd, off_t o, off_t n), BY_FD, errno, fd, o, n)
CALL(int, posix_fallocate64, (int fd, off_t o, off_t n), BY_FD, errno, fd, o, n)

CALL(int, rename, (const char *from, const char *path), BY_PATH, -1, from, path)
CALL(int, renameat, (int d, const char *from, int fd, const char *path), AT, -1, d, from, fd, path)
CALL(int, renameat2, (int d, const char *from, int fd, const char *path, unsigned f), AT, -1, d, from, fd, path, f)
CALL(int, link, (const char *from, const char *path), BY_PATH, -1, from, path)
CALL(int, linkat, (int d, const char *from, int fd, const char *path, int f), AT, -1, d, from, fd, path, f)
CALL(int, symlink, (const char *to, const char *path), BY_PATH, -1, to, path)
CALL(int, symlinkat, (const char *to, int fd, const char *path), AT, -1, to, fd, path)
CALL(int, mkdir, (const char *path, mode_t m), BY_PATH, -1, path, m)
CALL(int, mkdirat, (int fd, const char *path, mode_t m), AT, -1, fd, path, m)
CALL(int, rmdir, (const char *path), BY_PATH, -1, path)
CALL(int, unlink, (const char *path), BY_PATH, -1, path)
CALL(int, unlinkat, (int fd, const char *path, int f), AT, -1, fd, path, f)

CALL(int, chmod, (const char *path, mode_t m), BY_PATH, -1, path, m)
CALL(int, fchmod, (int fd, mode_t m), BY_FD, -1, fd, m)
CALL(int, fchmodat, (int fd, const char *path, mode_t m, int f), AT, -1, fd, path, m, f)
CALL(int, chown, (const char *path, uid_t u, gid_t g), BY_PATH, -1, path, u, g)
CALL(int, lchown, (const char *path, uid_t u, gid_t g), BY_PATH, -1, path, u, g)
CALL(int, fchown, (int fd, uid_t u, gid_t g), BY_FD, -1, fd, u, g)
CALL(int, fchownat, (int fd, const char *path, uid_t u, gid_t g, int f), AT, -1, fd, path, u, g, f)
CALL(int, futimens, (int fd, const struct timespec t[2]), BY_FD, -1, fd, t)
CALL(int, utimensat, (int fd, const char *path, const struct timespec t[2], int f), AT, -1, fd, path, t, f)
CALL(ssize_t, getxattr, (const char *path, const char *k, void *v, size_t n), BY_PATH, -1, path, k, v, n)
CALL(ssize_t, lgetxattr, (const char *path, const char *k, void *v, size_t n), BY_PATH, -1, path, k, v, n)
CALL(ssize_t, fgetxattr, (int fd, const char *k, void *v, size_t n), BY_FD, -1, fd, k, v, n)
CALL(int, setxattr, (const char *path, const char *k, const void *v, size_t n, int f), BY_PATH, -1, path, k, v, n, f)
CALL(int, lsetxattr, (const char *path, const char *k, const void *v, size_t n, int f), BY_PATH, -1, path, k, v, n, f)
CALL(int, fsetxattr, (int fd, const char *k, const void *v, size_t n, int f), BY_FD, -1, fd, k, v, n, f)
CALL(int, removexattr, (const char *path, const char *k), BY_PATH, -1, path, k)
CALL(int, lremovexattr, (const char *path, const char *k), BY_PATH, -1, path, k)
CALL(int, fremovexattr, (int fd, const char *k), BY_FD, -1, fd, k)

/* openat2(2) has no wrapper in libc. */
long syscall(long number, ...) {
    static long (*real)(long, ...);
    long a[6];
    va_list more;
    va_start(more, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(more, long);
    va_end(more);
    if (number == SYS_openat2 && fails("openat2", (int)a[0], (const char *)a[1])) return -1;
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
