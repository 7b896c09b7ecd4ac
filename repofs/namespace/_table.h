/* A table of pointers by number: see _table.c. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slot {
    uint64_t key;
    void *value;                         /* NULL: the slot is free */
};

struct table {
    struct slot *slots;
    size_t used;
    unsigned bits;                       /* there are two to the power of this many slots; 0: none yet */
};

void *table_find(const struct table *table, uint64_t key);
bool table_put(struct table *table, uint64_t key, void *value);
void table_take(struct table *table, uint64_t key);
