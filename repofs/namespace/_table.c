/* A table of pointers by number, with open addressing and linear probing, in which what is taken out leaves no gap (Knuth,
 * The Art of Computer Programming, vol. 3, 6.4, algorithm R). It grows and shrinks with what is in it.
 */
#include "_table.h"
#include <malloc.h>
#include <stdlib.h>

#define LEAST_BITS 4
#define LARGE_BITS 14                    /* 256 KiB */

static size_t home_of(const struct table *table, uint64_t key)
{
    return (size_t)((key * 0x9E3779B97F4A7C15ull) >> (64 - table->bits));
}

static size_t after(const struct table *table, size_t at)
{
    return (at + 1) & (((size_t)1 << table->bits) - 1);
}

/* Return the slot that has *key*, or the free one where it would come. */
static struct slot *slot_of(const struct table *table, uint64_t key)
{
    size_t at = home_of(table, key);
    while (table->slots[at].value != NULL && table->slots[at].key != key)
        at = after(table, at);
    return &table->slots[at];
}

/* Return what is there for *key*, or NULL. */
void *table_find(const struct table *table, uint64_t key)
{
    return table->slots == NULL ? NULL : slot_of(table, key)->value;
}

static bool resize(struct table *table, unsigned bits)
{
    const struct table old = *table;
    struct slot *slots = calloc((size_t)1 << bits, sizeof *slots);
    if (slots == NULL)
        return false;
    table->slots = slots;
    table->bits = bits;
    for (size_t at = 0; old.slots != NULL && at < (size_t)1 << old.bits; at++)
        if (old.slots[at].value != NULL)
            *slot_of(table, old.slots[at].key) = old.slots[at];
    free(old.slots);
    return true;
}

/* Put in *value* for *key*, which is not there; false when there is no memory. */
bool table_put(struct table *table, uint64_t key, void *value)
{
    if (table->slots == NULL ? !resize(table, LEAST_BITS)
                             : table->used >= (((size_t)3 << table->bits) >> 2) && !resize(table, table->bits + 1))
        return false;
    *slot_of(table, key) = (struct slot){key, value};
    table->used++;
    return true;
}

/* Take out *key*, which is there. */
void table_take(struct table *table, uint64_t key)
{
    size_t gap = (size_t)(slot_of(table, key) - table->slots);
    const size_t mask = ((size_t)1 << table->bits) - 1;
    for (size_t at = after(table, gap); table->slots[at].value != NULL; at = after(table, at)) {
        const size_t home = home_of(table, table->slots[at].key);
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            table->slots[gap] = table->slots[at];
            gap = at;
        }
    }
    table->slots[gap].value = NULL;
    table->used--;
    if (table->bits > LEAST_BITS && table->used < ((size_t)1 << table->bits) >> 3) {
        resize(table, table->bits - 1);  /* that it has no memory for a smaller one does no harm */
        if (table->bits >= LARGE_BITS)
            malloc_trim(0);              /* glibc keeps as much as twice what was freed at once before */
    }
}
