/* Files of which their directory and their status say all: see _plain.c. */
#include <Python.h>
#include <linux/fuse.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#define RULES 8                          /* of one directory, most of which need one: the one found first gives way */

struct ownership {
    uid_t uid;
    gid_t gid;
    mode_t mode;
};

struct rule {                            /* as what is shown that bears this */
    struct ownership bears, shown;
    bool alone;                          /* it has one name */
};

struct rules {
    PyObject *ask;                       /* ask(mode, uid, gid, links) -> (uid, gid, permission bits), or None */
    struct rule known[RULES];
    size_t count;                        /* ever */
};

struct plain {                           /* the files in one directory */
    PyObject *table, *packed, *directory;
    uint64_t ino;
    dev_t device;
    uint64_t seconds;                    /* that the kernel may keep what it is told */
    uint32_t nanoseconds;
    struct rules rules;
};

bool plain_begin(struct plain *plain, PyObject *table, PyObject *directory, PyObject *ask, double seconds);
void plain_end(struct plain *plain);
bool plain_is_one(const struct plain *plain, const struct stat *status);
bool plain_refer(struct plain *plain, const struct stat *status, PyObject *name, struct fuse_entry_out *entry);
void plain_take_back(const struct plain *plain, const struct fuse_entry_out *entry);
bool rules_find(struct rules *rules, const struct stat *status, struct ownership *shown);
void write_attributes(struct fuse_attr *to, const struct stat *from, const struct ownership *shown);
const struct packed_functions *packed_functions(void);
