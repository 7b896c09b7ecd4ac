/* Files of which their directory and their status say all, so that no node is needed: as what they are shown, and how
 * often the kernel refers to them.
 *
 * Python says by what rule what bears an owner, a group and a mode is shown, once for each such; it is asked about
 * whatever else it has to decide.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include "_plain.h"
#include "../namespace/_packed.h"

/* Return what counts references; NULL with an exception. */
const struct packed_functions *packed_functions(void)
{
    static const struct packed_functions *packed;
    if (packed == NULL)
        packed = PyCapsule_Import(PACKED_CAPSULE, 0);
    return packed;
}

static uint64_t number_of(PyObject *object, const char *name)
{
    PyObject *number = PyObject_GetAttrString(object, name);
    const uint64_t value = number == NULL ? 0 : PyLong_AsUnsignedLongLong(number);
    Py_XDECREF(number);
    return value;
}

/* Begin with the files in *directory*, of which *ask* tells the rules; false with an exception. */
bool plain_begin(struct plain *plain, PyObject *table, PyObject *directory, PyObject *ask, double seconds)
{
    *plain = (struct plain){.seconds = (uint64_t)seconds};
    plain->nanoseconds = (uint32_t)((seconds - (double)plain->seconds) * 1e9);
    plain->device = number_of(table, "device");
    if (!PyErr_Occurred())
        plain->ino = number_of(directory, "ino");
    if (!PyErr_Occurred())
        plain->packed = PyObject_GetAttrString(table, "packed");
    if (PyErr_Occurred() || packed_functions() == NULL) {
        Py_CLEAR(plain->packed);
        return false;
    }
    plain->table = Py_NewRef(table);
    plain->directory = Py_NewRef(directory);
    plain->rules.ask = Py_NewRef(ask);
    return true;
}

void plain_end(struct plain *plain)
{
    Py_CLEAR(plain->table);
    Py_CLEAR(plain->packed);
    Py_CLEAR(plain->directory);
    Py_CLEAR(plain->rules.ask);
}

bool plain_is_one(const struct plain *plain, const struct stat *status)
{
    return S_ISREG(status->st_mode) && status->st_dev == plain->device;
}

/* Ask Python for the rule of what bears what *rule* says: false when there is none, or with an exception. */
static bool ask(struct rules *rules, uint64_t links, struct rule *rule)
{
    unsigned int uid, gid, mode;
    PyObject *told = PyObject_CallFunction(
        rules->ask, "IIIK", rule->bears.mode, rule->bears.uid, rule->bears.gid, (unsigned long long)links);
    const bool shown = told != NULL && told != Py_None && PyArg_ParseTuple(told, "III", &uid, &gid, &mode);
    Py_XDECREF(told);
    if (!shown)
        return false;
    rule->shown = (struct ownership){uid, gid, mode};
    rules->known[rules->count++ % RULES] = *rule;
    return true;
}

/* Find as what is *shown* what has *status*: false when Python has to be asked for more, or with an exception. */
bool rules_find(struct rules *rules, const struct stat *status, struct ownership *shown)
{
    struct rule rule = {{status->st_uid, status->st_gid, status->st_mode}, {0}, status->st_nlink == 1};
    for (size_t at = 0; at < RULES && at < rules->count; at++) {
        const struct rule *known = &rules->known[at];
        if (known->bears.uid == rule.bears.uid && known->bears.gid == rule.bears.gid &&
            known->bears.mode == rule.bears.mode && known->alone == rule.alone) {
            *shown = known->shown;
            return true;
        }
    }
    if (!ask(rules, status->st_nlink, &rule))
        return false;
    *shown = rule.shown;
    return true;
}

void write_attributes(struct fuse_attr *to, const struct stat *from, const struct ownership *shown)
{
    *to = (struct fuse_attr){
        .ino = from->st_ino, .size = (uint64_t)from->st_size, .blocks = (uint64_t)from->st_blocks,
        .atime = (uint64_t)from->st_atim.tv_sec, .atimensec = (uint32_t)from->st_atim.tv_nsec,
        .mtime = (uint64_t)from->st_mtim.tv_sec, .mtimensec = (uint32_t)from->st_mtim.tv_nsec,
        .ctime = (uint64_t)from->st_ctim.tv_sec, .ctimensec = (uint32_t)from->st_ctim.tv_nsec,
        .mode = (from->st_mode & S_IFMT) | shown->mode, .uid = shown->uid, .gid = shown->gid,
        .nlink = (uint32_t)from->st_nlink, .blksize = (uint32_t)from->st_blksize};
}

/* Write the *entry* of the file of *status*, *name* in the directory, to which the kernel refers once more from now on;
 * false when it needs a node, or with an exception. */
bool plain_refer(struct plain *plain, const struct stat *status, PyObject *name, struct fuse_entry_out *entry)
{
    struct ownership shown;
    if (!rules_find(&plain->rules, status, &shown))
        return false;
    PyObject *children = PyObject_GetAttrString(plain->directory, "children");
    if (children == NULL)
        return false;
    const int64_t generation = packed_functions()->refer(plain->packed, status->st_ino, plain->ino, children, name);
    Py_DECREF(children);
    if (generation < 0)
        return false;
    *entry = (struct fuse_entry_out){
        .nodeid = status->st_ino, .generation = (uint64_t)generation,
        .entry_valid = plain->seconds, .entry_valid_nsec = plain->nanoseconds,
        .attr_valid = plain->seconds, .attr_valid_nsec = plain->nanoseconds};
    write_attributes(&entry->attr, status, &shown);
    return true;
}

/* Take back the reference that *entry* gave, which did not arrive. */
void plain_take_back(const struct plain *plain, const struct fuse_entry_out *entry)
{
    PyObject *done = PyObject_CallMethod(plain->table, "forget", "Ki", (unsigned long long)entry->nodeid, 1);
    if (done == NULL)
        PyErr_WriteUnraisable(plain->table);
    Py_XDECREF(done);
}
